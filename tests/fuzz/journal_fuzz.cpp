// A journal of any bytes: it is refused with one line, or read, cut at its last whole line, and
// goes on; and rows are made from whatever it says.
#include "fuzz.h"
#include "orchestrator/errors.h"
#include "orchestrator/fallback.h"
#include "orchestrator/journal.h"
#include "orchestrator/prune.h"
#include "orchestrator/views.h"

using namespace isosweep;
using fuzz::expect;

namespace {

const std::vector<PlannedCell>& plan() {
    static const std::vector<PlannedCell> cells = [] {
        std::vector<PlannedCell> made;
        for (const std::int64_t batch : {1, 2, 4}) {
            Cell cell;
            cell.batch_size = batch;
            // Short keys, so that a mutation hits them.
            made.push_back({std::string(1, static_cast<char>('a' + made.size())), cell});
        }
        return made;
    }();
    return cells;
}

std::string rows_of(const Journal& journal) {
    try {
        return to_csv(make_cells_table(with_fallbacks(plan(), journal), journal));
    } catch (const Failure& refused) {
        expect(std::string_view(refused.what()).find('\n') == std::string_view::npos,
               "a refusal is one line");
        return {};
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::filesystem::path file = fuzz::scratch_file("journal.jsonl");
    const std::string_view bytes = fuzz::text_of(data, size);
    fuzz::write_file(file, bytes);
    try {
        const std::string read = rows_of(Journal::read(file));
        std::string reopened;
        {
            Journal journal = Journal::open(file);
            reopened = rows_of(journal);
            expect(std::filesystem::file_size(file) == bytes.rfind('\n') + 1,
                   "what is whole stays, what is torn is cut");
            if (!journal.setting()) journal.write_header({});
            Witnesses().add_from(journal);
            Attempt attempt;
            attempt.outcome.status = Status::timeout;
            journal.write_start("a", journal.history("a").starts + 1, "n", "t", {});
            attempt.number = journal.history("a").starts;
            journal.write_end("a", attempt);
            journal.sync();
        }
        expect(read == reopened, "reading and opening tell the same");
        const Journal again = Journal::read(file);
        expect(again.history("a").recorded->status == Status::timeout,
               "what is appended is read back");
    } catch (const Failure& refused) {
        expect(std::string_view(refused.what()).find('\n') == std::string_view::npos,
               "a refusal is one line");
    }
    return 0;
}
