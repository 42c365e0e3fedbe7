#include "orchestrator/journal.h"

#include <isosweep/statistics.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cassert>
#include <stdexcept>

#include "orchestrator/clock.h"
#include "orchestrator/errors.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

constexpr std::int64_t schema = 1;
/// Most records fit in: no allocation for their parts.
constexpr std::size_t record_memory = 32768;

std::string_view text_member(const json::object& record, std::string_view name) {
    const json::value* value = record.if_contains(name);
    return value && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

/// Each part of the setting once: its name in the journal and its member.
template <class SettingRef, class Visit>
void for_each_header_part(SettingRef& setting, Visit&& visit) {
    visit("isosweep", setting.isosweep);
    visit("isolation", setting.isolation);
    visit("device", setting.device);
    visit("device_warning", setting.device_warning);
    visit("gpu", setting.gpu);
    visit("driver", setting.driver);
}

Setting setting_from(const json::object& record) {
    Setting setting;
    for_each_header_part(
        setting, [&](const char* name, std::string& part) { part = text_member(record, name); });
    return setting;
}

void put_setting(json::object& record, const Setting& setting) {
    for_each_header_part(setting,
                         [&](const char* name, const std::string& part) { record[name] = part; });
}

}  // namespace

Status shown_status(const CellHistory& history) {
    if (history.recorded) return history.recorded->status;
    if (history.open && !history.open_here) return Status::interrupted;
    return history.last ? history.last->status : Status::not_run;
}

fs::path journal_file(const fs::path& named) {
    fs::path file = named;
    if (file.extension() == ".csv") file.replace_extension();
    if (fs::is_directory(file)) file /= "journal.jsonl";
    return file;
}

Journal Journal::open(const fs::path& file) {
    Journal journal;
    journal.file_ = file;
    const bool is_new = !fs::exists(file);
    journal.fd_ = open_for_append(file);
    if (is_new) {
        sync_folder(file.parent_path());
        return journal;
    }
    read_lines(journal.fd_, 0, file, [&](std::string_view lines) { journal.load(lines); });
    if (journal.size_ < facts_of(journal.fd_, file).size) {
        // The write of the last record was cut off; what it told never counted.
        cut_file(journal.fd_, journal.size_, file);
        sync_data(journal.fd_, file);
    }
    return journal;
}

Journal Journal::read(const fs::path& file) {
    Journal journal;
    journal.file_ = file;
    journal.fd_ = open_for_reading(file);
    if (!journal.fd_) throw ResultsError("cannot read " + file.string() + ": it is not there");
    read_lines(journal.fd_, 0, file, [&](std::string_view lines) { journal.load(lines); });
    return journal;
}

Journal Journal::watch(const fs::path& file) {
    Journal journal;
    journal.file_ = file;
    return journal;
}

bool Journal::read_further() {
    const FileDescriptor fd = open_for_reading(file_);
    const FileFacts facts = fd ? facts_of(fd, file_) : FileFacts{};
    const bool is_another = !fd || facts.inode != inode_ || facts.size < size_;
    if (is_another && size_ > 0) {
        *this = watch(file_);
        read_further();
        return true;
    }
    if (!fd) return false;
    inode_ = facts.inode;
    const std::uint64_t before = size_;
    read_lines(fd, size_, file_, [&](std::string_view lines) { load(lines); });
    return size_ > before;
}

void Journal::load(std::string_view lines) {
    std::array<unsigned char, record_memory> buffer;
    while (!lines.empty()) {
        ++lines_;
        const auto newline = lines.find('\n');
        try {
            json::monotonic_resource memory(buffer.data(), buffer.size());
            const json::value record = json::parse(lines.substr(0, newline), &memory);
            apply(record.as_object(), {size_, newline});
        } catch (const Failure&) {
            throw;
        } catch (const std::exception& problem) {
            throw ResultsError(file_.string() + ":" + std::to_string(lines_) +
                               ": not a record of a journal (" + problem.what() +
                               "); restore the file, or start over with --fresh");
        }
        lines.remove_prefix(newline + 1);
        size_ += newline + 1;
    }
}

template <class Read>
auto Journal::from_record(const RecordPlace& place, Read&& read) const {
    assert(fd_);
    try {
        std::array<unsigned char, record_memory> buffer;
        json::monotonic_resource memory(buffer.data(), buffer.size());
        const std::string line = read_part(fd_, place.offset, place.size, file_);
        return read(json::parse(line, &memory).as_object());
    } catch (const Failure&) {
        throw;
    } catch (const std::exception& problem) {
        throw ResultsError(file_.string() + ": the record at byte " + std::to_string(place.offset) +
                           " is none of a journal (" + problem.what() +
                           "); restore the file, or start over with --fresh");
    }
}

Attempt Journal::attempt(const EndedAttempt& ended) const {
    return from_record(ended.record, [&](const json::object& record) {
        Attempt attempt;
        attempt.number = ended.number;
        attempt.decision = ended.decision;
        attempt.outcome = outcome_from_json(record.at("outcome").as_object());
        attempt.token = ended.token;
        attempt.start_ms = ended.start_ms;
        attempt.elapsed_ms = ended.elapsed_ms;
        if (const auto* const times = record.if_contains("times_ms"); times && times->is_object())
            attempt.times = attempt_times_from_json(times->get_object());
        return attempt;
    });
}

json::object Journal::asked_cell(const CellHistory& history) const {
    if (history.start.size == 0) return {};
    return from_record(history.start, [](const json::object& record) {
        json::object asked;  // not a copy of that one, which would stay in the record's memory
        if (const json::value* const cell = record.if_contains("cell"); cell && cell->is_object())
            asked = cell->get_object();
        return asked;
    });
}

std::string_view Journal::kept(std::string_view text) {
    const auto known = texts_.find(text);
    return known == texts_.end() ? *texts_.emplace(text).first : *known;
}

CellHistory& Journal::cell_of(const json::object& record) {
    const std::string_view key = record.at("key").as_string();
    const auto known = cells_.find(key);
    return known == cells_.end() ? cells_[std::string(key)] : known->second;
}

void Journal::apply(const json::object& record, const RecordPlace& place) {
    const std::string_view kind = text_member(record, "record");
    if (const auto time = parse_utc(text_member(record, kind == "header" ? "created" : "time")))
        last_record_ms_ = time;
    if (kind == "header") {
        if (const auto found = record.at("schema").as_int64(); found != schema)
            throw UsageError(file_.string() + ": the journal has schema " + std::to_string(found) +
                             ", this program knows " + std::to_string(schema) +
                             "; use the program that wrote it, or start over with --fresh");
        settings_ = {setting_from(record)};
    } else if (kind == "setting") {
        settings_.push_back(setting_from(record));
    } else if (kind == "hello") {
        if (settings_.empty()) throw std::runtime_error("a hello before the header");
        const json::object& facts = record.at("facts").as_object();
        if (settings_.back().worker) settings_.push_back(settings_.back());
        settings_.back().worker = text_member(facts, "build");
        settings_.back().torch = text_member(facts, "torch");
    } else if (kind == "worker") {
        WorkerRecord worker;
        worker.token = kept(record.at("token").as_string());
        worker.pid = record.at("pid").as_int64();
        worker.start_time = record.at("start_time").to_number<std::uint64_t>();
        worker.slot = static_cast<int>(record.at("slot").as_int64());
        worker.gpu_uuid = kept(text_member(record, "gpu"));
        worker.boot = kept(text_member(record, "boot"));
        worker.group = kept(text_member(record, "group"));
        worker.origin = kept(text_member(record, "origin"));
        worker.cpus = parse_cpu_list(text_member(record, "cpus"));
        if (const json::value* const node = record.if_contains("memory_node"))
            worker.memory_node = static_cast<int>(node->as_int64());
        if (worker.origin.empty()) tokens_[worker.pid] = worker.token;
        workers_[worker.token] = worker;
    } else if (kind == "probe") {
        // A precision that we do not know comes from a later version.
        if (const auto precision = from_name<Precision>(record.at("precision").as_string()))
            tflops_[{std::string(record.at("gpu_uuid").as_string()), *precision}] =
                record.at("tflops").to_number<double>();
    } else if (kind == "canary") {
        const auto times = summarize(record, "samples_ms");
        if (!times || times->median <= 0) throw std::runtime_error("a canary without times");
        canary_cell_ = record.at("cell").as_object();
        if (const WorkerRecord* const by = worker(text_member(record, "token"))) {
            CanaryLog& log = canaries_[place_of(*by)];
            log.medians_ms.push_back(times->median);
            log.median_ms = summarize(log.medians_ms)->median;
            log.cells_since = 0;
        }
    } else if (kind == "drift") {
        cell_of(record).drifted_attempt = static_cast<int>(record.at("attempt").as_int64());
    } else if (kind == "start") {
        CellHistory& cell = cell_of(record);
        cell.starts = static_cast<int>(record.at("attempt").as_int64());
        cell.open = true;
        cell.started_ms = parse_utc(text_member(record, "time")).value_or(0);
        cell.token = kept(text_member(record, "token"));
        cell.start = place;
    } else if (kind == "fallback") {
        const std::string rule(record.at("rule").as_string());
        if (std::find(fallback_rules_.begin(), fallback_rules_.end(), rule) ==
            fallback_rules_.end())
            fallback_rules_.push_back(rule);
    } else if (kind == "end") {
        CellHistory& cell = cell_of(record);
        EndedAttempt attempt;
        attempt.number = static_cast<int>(record.at("attempt").as_int64());
        attempt.status = status_from_json(record.at("outcome").as_object());
        const auto decision = from_name<Decision>(record.at("decision").as_string());
        if (!decision) throw std::runtime_error("unknown decision");
        attempt.decision = *decision;
        attempt.token = kept(text_member(record, "token"));
        attempt.record = place;
        attempt.start_ms = record.at("start_ms").as_int64();
        attempt.elapsed_ms = record.at("elapsed_ms").as_int64();
        if (settings_.empty()) throw std::runtime_error("an end before the header");
        attempt.setting = settings_.size() - 1;
        // One that was appended by hand, and was there after all.
        const bool is_again = cell.last && !attempt.token.empty() && !cell.open &&
                              cell.last->token == attempt.token &&
                              cell.last->number == attempt.number;
        if (is_again) return;
        spans_.push_back({cells_.find(record.at("key").as_string())->first, attempt.decision,
                          attempt.status, attempt.start_ms, attempt.elapsed_ms});
        cell.open = cell.open_here = false;
        const Status status = attempt.status;
        if (const WorkerRecord* const by = worker(attempt.token)) {
            CanaryLog& log = canaries_[place_of(*by)];
            attempt.canaries_before = log.medians_ms.size();
            if (status == Status::ok) ++log.cells_since;
        }
        if (attempt.decision != Decision::again && is_final(status)) {
            ++cell.attempts;
            if (status != Status::ok) ++cell.failures;
        }
        cell.last = attempt;
        if (attempt.decision != Decision::record) {
            cell.pending.push_back({attempt.decision, status});
        } else {
            cell.pending.clear();
            // An attempt that was asked for and broken off takes nothing away from what was there.
            if (is_final(status)) cell.recorded = attempt;
        }
    }
    // Records of a kind we do not know come from a later version and are kept, not refused.
}

std::string place_of(std::string_view gpu_uuid, std::size_t slot) {
    return gpu_uuid.empty() ? "slot " + std::to_string(slot) : std::string(gpu_uuid);
}

std::string place_of(const WorkerRecord& worker) {
    const std::string place = place_of(worker.gpu_uuid, static_cast<std::size_t>(worker.slot));
    return worker.origin.empty() ? place : std::string(worker.origin) + " " + place;
}

const CellHistory& Journal::history(std::string_view key) const {
    static const CellHistory none;
    const auto found = cells_.find(key);
    return found == cells_.end() ? none : found->second;
}

const WorkerRecord* Journal::worker(std::string_view token) const {
    const auto found = workers_.find(token);
    return found == workers_.end() ? nullptr : &found->second;
}

const WorkerRecord* Journal::worker_with(std::int64_t pid) const {
    const auto found = tokens_.find(pid);
    return found == tokens_.end() ? nullptr : worker(found->second);
}

std::optional<double> Journal::attainable_tflops(const std::string& gpu_uuid,
                                                 Precision precision) const {
    const auto found = tflops_.find({gpu_uuid, precision});
    return found == tflops_.end() ? std::nullopt : std::optional(found->second);
}

const CanaryLog& Journal::canaries(const std::string& place) const {
    static const CanaryLog none;
    const auto found = canaries_.find(place);
    return found == canaries_.end() ? none : found->second;
}

void Journal::append(const json::object& record) {
    const std::string line = json::serialize(record) + "\n";
    if (text_member(record, "record") == "end") unsaved_ends_ += line;
    try {
        write_all(fd_, line, file_);
    } catch (const ResultsError&) {
        // A part of a line would spoil what somebody appends by hand.
        try {
            cut_file(fd_, size_, file_);
        } catch (const ResultsError&) {  // NOLINT(bugprone-empty-catch)
            // The next run cuts it; the first failure is the one to tell of.
        }
        throw;
    }
    // What counts is what a later reader will see: a number can lose its last digit on the way.
    load(line);
}

void Journal::write_header(const Setting& setting) {
    json::object record{
        {"record", "header"}, {"schema", schema}, {"created", format_utc(unix_now_ms())}};
    put_setting(record, setting);
    append(record);
    sync();
}

void Journal::write_setting(const Setting& setting) {
    json::object record{{"record", "setting"}, {"time", format_utc(unix_now_ms())}};
    put_setting(record, setting);
    append(record);
    sync();
}

void Journal::write_hello(const json::object& facts) {
    append({{"record", "hello"}, {"time", format_utc(unix_now_ms())}, {"facts", facts}});
}

void Journal::write_worker(const WorkerRecord& worker) {
    json::object record{{"record", "worker"},
                        {"time", format_utc(unix_now_ms())},
                        {"token", worker.token},
                        {"pid", worker.pid},
                        {"start_time", worker.start_time},
                        {"slot", worker.slot},
                        {"gpu", worker.gpu_uuid},
                        {"boot", worker.boot}};
    if (!worker.group.empty()) record["group"] = worker.group;
    if (!worker.cpus.empty()) record["cpus"] = to_text(worker.cpus);
    if (worker.memory_node) record["memory_node"] = *worker.memory_node;
    append(record);
}

void Journal::write_probe(const ProbeRecord& probe) {
    append({{"record", "probe"},
            {"time", format_utc(unix_now_ms())},
            {"gpu_uuid", probe.gpu_uuid},
            {"gpu", probe.gpu},
            {"precision", to_name(probe.precision)},
            {"tflops", probe.tflops},
            {"samples_ms", probe.samples_ms}});
}

void Journal::write_canary(const std::string& token, const json::object& cell,
                           const json::array& samples_ms) {
    append({{"record", "canary"},
            {"time", format_utc(unix_now_ms())},
            {"token", token},
            {"cell", cell},
            {"samples_ms", samples_ms}});
}

void Journal::write_drift(const std::string& key, int attempt, double canary_ratio) {
    append({{"record", "drift"},
            {"time", format_utc(unix_now_ms())},
            {"key", key},
            {"attempt", attempt},
            {"canary_ratio", canary_ratio}});
}

void Journal::write_fallback_rule(const std::string& rule) {
    if (std::find(fallback_rules_.begin(), fallback_rules_.end(), rule) != fallback_rules_.end())
        return;
    append({{"record", "fallback"}, {"time", format_utc(unix_now_ms())}, {"rule", rule}});
    sync();
}

void Journal::write_start(const std::string& key, int attempt, const std::string& nonce,
                          const std::string& token, const json::object& cell) {
    // A cell may take hours: better not to begin than to find nowhere to put it.
    check_still_there(fd_, file_);
    append({{"record", "start"},
            {"time", format_utc(unix_now_ms())},
            {"key", key},
            {"attempt", attempt},
            {"nonce", nonce},
            {"token", token},
            {"cell", cell}});
    cells_[key].open_here = true;
}

void Journal::write_end(const std::string& key, const Attempt& attempt) {
    append({{"record", "end"},
            {"time", format_utc(unix_now_ms())},
            {"key", key},
            {"attempt", attempt.number},
            {"token", attempt.token},
            {"start_ms", attempt.start_ms},
            {"elapsed_ms", attempt.elapsed_ms},
            {"times_ms", to_json(attempt.times)},
            {"decision", to_name(attempt.decision)},
            {"outcome", to_json(attempt.outcome)}});
}

void Journal::sync() {
    sync_data(fd_, file_);
    check_still_there(fd_, file_);
    unsaved_ends_.clear();
}

}  // namespace isosweep
