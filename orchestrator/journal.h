#pragma once

#include <isosweep/cell.h>
#include <isosweep/outcome.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "orchestrator/files.h"

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

/// One attempt at a cell that has ended, as the journal has it.
struct Attempt {
    int number = 1;  ///< counts every start of the cell, from 1; names its log
    Decision decision = Decision::record;
    Outcome outcome;
    std::string token;          ///< the worker's
    std::int64_t start_ms = 0;  ///< milliseconds since 1970, UTC
    std::int64_t elapsed_ms = 0;
};

/// An attempt that was not recorded as the cell's outcome.
struct Pending {
    Decision decision;
    Status status;
};

/// What the journal knows of one cell.
struct CellHistory {
    int starts = 0;     ///< attempts begun
    int attempts = 0;   ///< attempts that count: ended, and not by what is no fault of the cell
    int failures = 0;   ///< of these, those that did not end well
    bool open = false;  ///< an attempt has begun and not ended
    bool open_here = false;           ///< it was begun by this process, so it is running
    std::string token;                ///< of the worker of the last attempt begun
    std::optional<Attempt> recorded;  ///< the last one that was recorded with a final outcome
    std::optional<Attempt> last;      ///< the last one that ended
    std::vector<Pending> pending;     ///< since `recorded`, those that asked for another attempt

    /// Whether the cell is not run again unasked.
    bool is_done() const { return recorded.has_value(); }
};

/// A worker as the journal knows it: enough to recognise a leftover of it.
struct WorkerRecord {
    std::string token;
    std::int64_t pid = 0;
    std::uint64_t start_time = 0;  ///< clock ticks since boot
    int slot = 0;
    std::string gpu_uuid;
    std::string group = {};  ///< folder of its own control group; empty where it had none
};

/// How fast a GPU multiplies matrices, measured once in a sweep.
struct ProbeRecord {
    std::string gpu_uuid;
    std::string gpu;  ///< its name
    Precision precision = Precision::fp32;
    double tflops = 0;
    boost::json::array samples_ms;
};

/// What a sweep was measured with, kept in the journal's header. A resume with another is refused.
struct Setting {
    std::string isosweep;        ///< this program's build
    std::string isolation;       ///< process or shared
    std::string device;          ///< what `auto` and `cuda` mean here: cuda or cpu
    std::string device_warning;  ///< why that is not what was asked for; empty if it is
    std::string gpu;             ///< "NVIDIA H200 (140 GiB)", several joined by ", "; empty without
    std::string driver;
    // From the first hello, absent before it:
    std::optional<std::string> worker;  ///< the worker's build
    std::optional<std::string> torch;   ///< empty for a worker without Torch

    bool operator==(const Setting&) const = default;
};

/// The truth about a sweep: one JSON object a line, only ever appended (docs/ARCHITECTURE.md).
///
/// Each record is one write. An end counts once it is synced: append, `sync`, then tell others.
class Journal {
  public:
    /// Reads the file where it exists, cuts a torn last line, and opens it for appending.
    /// \throws ResultsError naming file and line for a bad line in the middle
    static Journal open(const std::filesystem::path& file);

    /// Reads without touching: for reports while a sweep runs. \throws ResultsError
    static Journal read(const std::filesystem::path& file);

    /// The setting as far as it is known; none in a new journal.
    const std::optional<Setting>& setting() const { return setting_; }
    const CellHistory& history(const std::string& key) const;
    const WorkerRecord* worker(const std::string& token) const;
    /// All workers by their tokens.
    const std::unordered_map<std::string, WorkerRecord>& workers() const { return workers_; }
    /// The speed of this GPU's matrix product, in TFLOP/s; absent where it was not measured.
    std::optional<double> attainable_tflops(const std::string& gpu_uuid, Precision precision) const;
    /// Keys of all cells with at least one record.
    const std::unordered_map<std::string, CellHistory>& cells() const { return cells_; }

    void write_header(const Setting& setting);
    /// Adds the first hello's part of the setting.
    void write_hello(const boost::json::object& facts);
    void write_worker(const WorkerRecord& worker);
    /// Durable with the next sync.
    void write_probe(const ProbeRecord& probe);
    void write_start(const std::string& key, int attempt, const std::string& nonce,
                     const std::string& token, const boost::json::object& cell);
    void write_end(const std::string& key, const Attempt& attempt);
    /// Makes everything written so far durable.
    void sync();

  private:
    Journal() = default;
    void load(std::string_view content);
    void append(const boost::json::object& record);
    void apply(const boost::json::object& record);

    std::filesystem::path file_;
    FileDescriptor fd_;
    std::optional<Setting> setting_;
    std::unordered_map<std::string, CellHistory> cells_;
    std::unordered_map<std::string, WorkerRecord> workers_;
    std::map<std::pair<std::string, Precision>, double> tflops_;  ///< by GPU and precision
};

}  // namespace isosweep
