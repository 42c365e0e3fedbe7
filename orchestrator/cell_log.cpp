#include "orchestrator/cell_log.h"

#include <isosweep/text.h>
#include <unistd.h>

#include <algorithm>

#include "orchestrator/errors.h"

namespace isosweep {

void CellLog::write(std::string_view bytes) {
    if (bytes.empty()) return;
    if (also_to_terminal_) {
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, bytes.data(), bytes.size());
    }
    if (problem_.empty()) try {
            write_head(bytes);
        } catch (const ResultsError& problem) {
            problem_ = problem.what();
        }
    total_ += bytes.size();
    tail_ += bytes;
    if (tail_.size() > 2 * tail_bytes) tail_.erase(0, tail_.size() - tail_bytes);
}

void CellLog::write_head(std::string_view bytes) {
    if (!fd_) {
        make_subfolder(file_.parent_path());
        fd_ = open_for_append(file_);
    }
    if (total_ < head_bytes)
        write_all(fd_, bytes.substr(0, head_bytes - static_cast<std::size_t>(total_)), file_);
}

void CellLog::close() {
    if (fd_ && problem_.empty()) try {
            write_tail();
        } catch (const ResultsError& problem) {
            problem_ = problem.what();
        }
    fd_ = FileDescriptor();
}

void CellLog::write_tail() {
    if (total_ <= head_bytes) return;
    const auto beyond = total_ - head_bytes;
    const auto kept = std::min<std::uint64_t>({beyond, tail_.size(), tail_bytes});
    if (beyond > kept)
        write_all(fd_, "\n[... " + std::to_string(beyond - kept) + " bytes left out ...]\n", file_);
    write_all(fd_, std::string_view(tail_).substr(tail_.size() - kept), file_);
}

std::string CellLog::last_words() const {
    std::string_view rest = tail_;
    // The last line that says something, with the ones before it as long as they are short.
    std::string words;
    while (!rest.empty() && words.size() < 200) {
        rest = rest.substr(0, rest.find_last_not_of(" \t\r\n") + 1);
        const auto newline = rest.find_last_of('\n');
        const std::string line =
            one_line(newline == std::string_view::npos ? rest : rest.substr(newline + 1), 200);
        if (!line.empty()) words = words.empty() ? line : line + " | " + words;
        if (newline == std::string_view::npos) break;
        rest = rest.substr(0, newline);
    }
    return one_line(words, 400);
}

}  // namespace isosweep
