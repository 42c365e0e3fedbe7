// A main for the fuzzers where there is no libFuzzer: it runs every seed, and then NUMBER mutations
// of them that are the same every time.
//   NAME_fuzz SEEDS_FOLDER NUMBER
#include <algorithm>
#include <iterator>
#include <random>
#include <vector>

#include "fuzz.h"

namespace {

using Bytes = std::string;

std::vector<Bytes> read_seeds(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<Bytes> seeds;
    for (const auto& file : files) {
        std::ifstream stream(file, std::ios::binary);
        seeds.emplace_back(std::istreambuf_iterator<char>(stream),
                           std::istreambuf_iterator<char>());
    }
    return seeds;
}

void run(const Bytes& bytes) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

class Mutator {
  public:
    explicit Mutator(const std::vector<Bytes>& seeds) : seeds_(seeds) {}

    Bytes next() {
        Bytes bytes = pick(seeds_);
        for (std::size_t n = 1 + number(4); n > 0; --n) change(bytes);
        return bytes;
    }

  private:
    std::size_t number(std::size_t below) { return below == 0 ? 0 : random_() % below; }
    const Bytes& pick(const std::vector<Bytes>& from) { return from[number(from.size())]; }

    void change(Bytes& bytes) {
        static const std::vector<Bytes> words = {
            "\n",   "\"",   "{",     "}",    "[",     "]",     ",",       ":",
            "=",    "#",    "-1",    "0",    "1",     "..",    "*",       "+2",
            "true", "null", "1e999", "NaN",  "ok",    "crash", "skipped", "/2",
            "'",    "\\",   "",      "\xff", "\"a\"", "{}",    "[1,2]",   "99999999999999999999"};
        const std::size_t at = number(bytes.size() + 1);
        switch (number(6)) {
            case 0:
                if (at < bytes.size()) bytes[at] = static_cast<char>(random_());
                break;
            case 1:
                bytes.erase(at, 1 + number(8));
                break;
            case 2:
                bytes.insert(at, pick(words));
                break;
            case 3:
                bytes.resize(at);
                break;
            case 4: {  // a part of another seed
                const Bytes& other = pick(seeds_);
                const std::size_t from = number(other.size() + 1);
                bytes.insert(at, other, from, number(200));
                break;
            }
            default: {  // a whole line again, or gone
                const std::size_t begin = bytes.rfind('\n', at) + 1;
                const std::size_t end = std::min(bytes.find('\n', begin), bytes.size() - 1) + 1;
                if (begin >= bytes.size()) break;
                const Bytes line = bytes.substr(begin, end - begin);
                if (number(2) == 0)
                    bytes.insert(begin, line);
                else
                    bytes.erase(begin, line.size());
            }
        }
    }

    const std::vector<Bytes>& seeds_;
    std::mt19937 random_{20261124};  // NOLINT(*-random-generator-seed): the same every time
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::vector<Bytes> seeds = read_seeds(argv[1]);
    const long wanted = std::strtol(argv[2], nullptr, 10);
    for (const Bytes& seed : seeds) run(seed);
    Mutator mutator(seeds);
    for (long i = 0; i < wanted; ++i) run(mutator.next());
    std::printf("%zu seeds and %ld mutations of them\n", seeds.size(), wanted);
    return seeds.empty() ? 1 : 0;
}
