#pragma once

#include <isosweep/cell.h>
#include <isosweep/outcome.h>
#include <isosweep/text.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "orchestrator/attempt_times.h"
#include "orchestrator/files.h"
#include "orchestrator/placement.h"
#include "orchestrator/setting.h"

namespace isosweep {

/// What follows from the end of an attempt.
enum class Decision {
    record,  ///< it is the cell's outcome
    retry,   ///< the cell is tried again
    again,   ///< the attempt does not count: the cell is run again
};
template <>
struct EnumNames<Decision> {
    static constexpr std::pair<Decision, std::string_view> value[] = {
        {Decision::record, "record"}, {Decision::retry, "retry"}, {Decision::again, "again"}};
};

/// One attempt at a cell that has ended, with all that its record has.
struct Attempt {
    int number = 1;  ///< counts every start of the cell, from 1; names its log
    Decision decision = Decision::record;
    Outcome outcome;
    std::string token;          ///< the worker's
    std::int64_t start_ms = 0;  ///< milliseconds since 1970, UTC
    std::int64_t elapsed_ms = 0;
    AttemptTimes times;
};

/// Where a record stands in its file.
struct RecordPlace {
    std::uint64_t offset = 0;
    std::size_t size = 0;  ///< without its newline; 0: there is none
};

/// What of an attempt that has ended is kept in memory: `Journal::attempt` has the rest. Texts are
/// the journal's.
struct EndedAttempt {
    int number = 1;
    Decision decision = Decision::record;
    Status status = Status::ok;
    std::string_view token;
    std::int64_t start_ms = 0;
    std::int64_t elapsed_ms = 0;
    std::size_t setting = 0;          ///< which of the journal's settings it was measured with
    std::size_t canaries_before = 0;  ///< of its slot's canaries, so many were measured before it
    RecordPlace record;
};

/// An attempt that was not recorded as the cell's outcome.
struct Pending {
    Decision decision;
    Status status;
};

/// When an attempt that has ended ran, and how it ended.
struct AttemptSpan {
    std::string_view key;  ///< the journal's
    Decision decision = Decision::record;
    Status status = Status::ok;
    std::int64_t start_ms = 0;  ///< milliseconds since 1970, UTC
    std::int64_t elapsed_ms = 0;
};

/// What the journal knows of one cell. Texts are the journal's.
struct CellHistory {
    int starts = 0;     ///< attempts begun
    int attempts = 0;   ///< attempts that count: ended, and not by what is no fault of the cell
    int failures = 0;   ///< of these, those that did not end well
    bool open = false;  ///< an attempt has begun and not ended
    bool open_here = false;       ///< it was begun by this process, so it is running
    std::int64_t started_ms = 0;  ///< when the last one began; milliseconds since 1970, UTC
    std::string_view token;       ///< of the worker of the last attempt begun
    RecordPlace start;            ///< of the last attempt begun: it tells what was asked for
    std::optional<EndedAttempt> recorded;  ///< the last one recorded with a final outcome
    std::optional<EndedAttempt> last;      ///< the last one that ended
    std::vector<Pending> pending;  ///< since `recorded`, those that asked for another attempt
    int drifted_attempt = 0;       ///< the recorded one that was found in doubt (`canary`); 0: none

    /// Whether the cell is not run again unasked.
    bool is_done() const { return recorded.has_value(); }
};

/// A worker as the journal knows it: enough to recognise a leftover of it. Texts are the journal's,
/// where it comes from one.
struct WorkerRecord {
    std::string_view token;
    std::int64_t pid = 0;
    std::uint64_t start_time = 0;  ///< clock ticks since boot
    int slot = 0;
    std::string_view gpu_uuid;
    std::string_view boot = {};   ///< of the machine, since when its pids and start times count
    std::string_view group = {};  ///< folder of its own control group; empty where it had none
    /// The sweep that it worked for, where the record was taken from another one's journal
    /// (`merge`): it is not ours to end.
    std::string_view origin = {};
    CpuList cpus = {};                    ///< that it was kept to; empty: to none
    std::optional<int> memory_node = {};  ///< that it was to take its memory from
};

/// The name of the slot that a worker was in: its GPU, or its number where it has none; with its
/// origin.
std::string place_of(std::string_view gpu_uuid, std::size_t slot);
std::string place_of(const WorkerRecord& worker);

/// The canaries of a slot (orchestrator/canary).
struct CanaryLog {
    std::vector<double> medians_ms;  ///< in their order
    double median_ms = 0;            ///< of these
    int cells_since = 0;             ///< cells that ended ok there since the last one
};

/// How fast a GPU multiplies matrices, measured once in a sweep.
struct ProbeRecord {
    std::string gpu_uuid;
    std::string gpu;  ///< its name
    Precision precision = Precision::fp32;
    double tflops = 0;
    boost::json::array samples_ms;
};

/// The status that a cell's row shows: of the recorded outcome, else of what became of the last
/// attempt.
Status shown_status(const CellHistory& history);

/// The journal that a person names by itself, its folder, or the CSV that it belongs to.
std::filesystem::path journal_file(const std::filesystem::path& named);

/// The truth about a sweep: one JSON object a line, only ever appended (docs/ARCHITECTURE.md).
///
/// Each record is one write. An end counts once it is synced: append, `sync`, then tell others.
///
/// In memory is what tells how far the sweep is, some hundred bytes a cell. What was measured is
/// read again where it is asked for.
class Journal {
  public:
    using Cells = std::unordered_map<std::string, CellHistory, TextHash, std::equal_to<>>;

    /// Reads the file where it exists, cuts a torn last line, and opens it for appending.
    /// \throws ResultsError naming file and line for a bad line in the middle
    static Journal open(const std::filesystem::path& file);

    /// Reads without touching: for reports while a sweep runs. \throws ResultsError
    static Journal read(const std::filesystem::path& file);

    /// Watches a file that a sweep writes, or will write: whatever is there comes with
    /// `read_further`. Attempts and cells cannot be asked for.
    static Journal watch(const std::filesystem::path& file);

    /// Reads what was added meanwhile; all of it anew where another file has come in its place.
    /// \returns whether there was something \throws ResultsError
    bool read_further();

    /// Adds lines as another journal has them, each whole; nothing is written. \throws ResultsError
    void load(std::string_view lines);

    /// The latest setting as far as it is known. \returns nullptr in a new journal
    const Setting* setting() const { return settings_.empty() ? nullptr : &settings_.back(); }
    /// All settings in their order.
    const std::vector<Setting>& settings() const { return settings_; }
    /// What an attempt of this journal was measured with.
    const Setting& setting_of(const EndedAttempt& attempt) const {
        return settings_.at(attempt.setting);
    }
    const std::filesystem::path& file() const { return file_; }
    const CellHistory& history(std::string_view key) const;
    /// All of an attempt, from its record in the file. \throws ResultsError
    Attempt attempt(const EndedAttempt& ended) const;
    /// The cell as it was last asked for, from its record in the file; empty where it never was.
    /// \throws ResultsError
    boost::json::object asked_cell(const CellHistory& history) const;
    const WorkerRecord* worker(std::string_view token) const;
    /// The last worker with this process id. \returns nullptr where none had it
    const WorkerRecord* worker_with(std::int64_t pid) const;
    /// All workers by their tokens.
    const std::unordered_map<std::string_view, WorkerRecord>& workers() const { return workers_; }
    /// The speed of this GPU's matrix product, in TFLOP/s; absent where it was not measured.
    std::optional<double> attainable_tflops(const std::string& gpu_uuid, Precision precision) const;
    /// The canaries of a slot by its `place_of`.
    const CanaryLog& canaries(const std::string& place) const;
    /// The cell that the last canary was; empty where there was none.
    const boost::json::object& canary_cell() const { return canary_cell_; }
    /// By which rules further cells followed from the plan's, each once, in their order.
    const std::vector<std::string>& fallback_rules() const { return fallback_rules_; }
    /// Keys of all cells with at least one record.
    const Cells& cells() const { return cells_; }
    /// When the last record was written; milliseconds since 1970 by its writer's clock, UTC.
    std::optional<std::int64_t> last_record_ms() const { return last_record_ms_; }

    /// Every attempt that has ended, in the order in which they did.
    const std::vector<AttemptSpan>& spans() const { return spans_; }

    void write_header(const Setting& setting);
    /// From here on the sweep is measured with something else.
    void write_setting(const Setting& setting);
    /// Adds a hello's part of the setting; where it has one already, another setting begins.
    void write_hello(const boost::json::object& facts);
    void write_worker(const WorkerRecord& worker);
    /// Durable with the next sync.
    void write_probe(const ProbeRecord& probe);
    /// Durable with the next sync.
    void write_canary(const std::string& token, const boost::json::object& cell,
                      const boost::json::array& samples_ms);
    /// The attempt that is the cell's outcome is in doubt, and the cell is measured again. Durable
    /// with the next sync.
    void write_drift(const std::string& key, int attempt, double canary_ratio);
    /// Keeps a rule, where it is new: rows can be made from the journal alone.
    void write_fallback_rule(const std::string& rule);
    void write_start(const std::string& key, int attempt, const std::string& nonce,
                     const std::string& token, const boost::json::object& cell);
    void write_end(const std::string& key, const Attempt& attempt);
    /// Makes everything written so far durable. Throws as well where the file is no longer there
    /// under its name.
    void sync();
    /// The lines of the ends that no sync has made durable, for whoever has to keep them elsewhere.
    /// A line that is on the disk after all may be appended once more: it counts once.
    const std::string& unsaved_ends() const { return unsaved_ends_; }

  private:
    Journal() = default;
    void append(const boost::json::object& record);
    void apply(const boost::json::object& record, const RecordPlace& place);
    /// What `read` makes of a record in the file.
    template <class Read>
    auto from_record(const RecordPlace& place, Read&& read) const;
    CellHistory& cell_of(const boost::json::object& record);
    /// The journal's copy of a text of which there are many.
    std::string_view kept(std::string_view text);

    std::filesystem::path file_;
    FileDescriptor fd_;
    std::uint64_t size_ = 0;   ///< of the lines read and written so far
    std::uint64_t inode_ = 0;  ///< of the file that is watched
    std::size_t lines_ = 0;
    std::optional<std::int64_t> last_record_ms_;
    std::string unsaved_ends_;
    std::vector<Setting> settings_;  ///< the one it was begun with, then others
    std::vector<std::string> fallback_rules_;
    std::unordered_set<std::string, TextHash, std::equal_to<>> texts_;
    Cells cells_;
    std::vector<AttemptSpan> spans_;
    std::unordered_map<std::string_view, WorkerRecord> workers_;
    std::unordered_map<std::int64_t, std::string_view> tokens_;   ///< of workers, by process id
    std::map<std::pair<std::string, Precision>, double> tflops_;  ///< by GPU and precision
    std::map<std::string, CanaryLog> canaries_;                   ///< by slot
    boost::json::object canary_cell_;
};

}  // namespace isosweep
