#include "orchestrator/journal.h"

#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "orchestrator/clock.h"
#include "orchestrator/errors.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace json = boost::json;
namespace {

constexpr std::int64_t schema = 1;

std::string text_member(const json::object& record, std::string_view name) {
    const json::value* value = record.if_contains(name);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
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

}  // namespace

Journal Journal::open(const fs::path& file) {
    Journal journal;
    journal.file_ = file;
    const bool is_new = !fs::exists(file);
    journal.fd_ = open_for_append(file);
    if (is_new) {
        sync_folder(file.parent_path());
        return journal;
    }
    const std::string content = read_file(file);
    const std::size_t whole = content.rfind('\n') + 1;  // 0 where there is no newline at all
    journal.load(std::string_view(content).substr(0, whole));
    if (whole < content.size()) {
        // The write of the last record was cut off; what it told never counted.
        if (::ftruncate(journal.fd_.get(), static_cast<off_t>(whole)) != 0)
            throw ResultsError("cannot cut the torn last line of " + file.string() + ": " +
                               std::strerror(errno));
        sync_data(journal.fd_, file);
    }
    return journal;
}

Journal Journal::read(const fs::path& file) {
    Journal journal;
    journal.file_ = file;
    const std::string content = read_file(file);
    journal.load(std::string_view(content).substr(0, content.rfind('\n') + 1));
    return journal;
}

void Journal::load(std::string_view content) {
    std::size_t number = 0;
    while (!content.empty()) {
        ++number;
        const auto newline = content.find('\n');
        try {
            apply(json::parse(content.substr(0, newline)).as_object());
        } catch (const Failure&) {
            throw;
        } catch (const std::exception& problem) {
            throw ResultsError(file_.string() + ":" + std::to_string(number) +
                               ": not a record of a journal (" + problem.what() +
                               "); restore the file, or start over with --fresh");
        }
        content.remove_prefix(newline + 1);
    }
}

void Journal::apply(const json::object& record) {
    const std::string kind = text_member(record, "record");
    if (kind == "header") {
        if (const auto found = record.at("schema").as_int64(); found != schema)
            throw UsageError(file_.string() + ": the journal has schema " + std::to_string(found) +
                             ", this program knows " + std::to_string(schema) +
                             "; use the program that wrote it, or start over with --fresh");
        setting_.emplace();
        for_each_header_part(*setting_, [&](const char* name, std::string& part) {
            part = text_member(record, name);
        });
    } else if (kind == "hello") {
        if (!setting_) throw std::runtime_error("a hello before the header");
        const json::object& facts = record.at("facts").as_object();
        setting_->worker = text_member(facts, "build");
        setting_->torch = text_member(facts, "torch");
    } else if (kind == "worker") {
        WorkerRecord worker;
        worker.token = record.at("token").as_string();
        worker.pid = record.at("pid").as_int64();
        worker.start_time = record.at("start_time").to_number<std::uint64_t>();
        worker.slot = static_cast<int>(record.at("slot").as_int64());
        worker.gpu_uuid = text_member(record, "gpu");
        worker.group = text_member(record, "group");
        workers_[worker.token] = worker;
    } else if (kind == "probe") {
        // A precision that we do not know comes from a later version.
        if (const auto precision = from_name<Precision>(record.at("precision").as_string()))
            tflops_[{std::string(record.at("gpu_uuid").as_string()), *precision}] =
                record.at("tflops").to_number<double>();
    } else if (kind == "start") {
        CellHistory& cell = cells_[std::string(record.at("key").as_string())];
        cell.starts = static_cast<int>(record.at("attempt").as_int64());
        cell.open = true;
        cell.token = text_member(record, "token");
    } else if (kind == "end") {
        CellHistory& cell = cells_[std::string(record.at("key").as_string())];
        Attempt attempt;
        attempt.number = static_cast<int>(record.at("attempt").as_int64());
        attempt.outcome = outcome_from_json(record.at("outcome").as_object());
        const auto decision = from_name<Decision>(record.at("decision").as_string());
        if (!decision) throw std::runtime_error("unknown decision");
        attempt.decision = *decision;
        attempt.token = text_member(record, "token");
        attempt.start_ms = record.at("start_ms").as_int64();
        attempt.elapsed_ms = record.at("elapsed_ms").as_int64();
        cell.open = cell.open_here = false;
        const Status status = attempt.outcome.status;
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
            if (is_final(status)) cell.recorded = std::move(attempt);
        }
    }
    // Records of a kind we do not know come from a later version and are kept, not refused.
}

const CellHistory& Journal::history(const std::string& key) const {
    static const CellHistory none;
    const auto found = cells_.find(key);
    return found == cells_.end() ? none : found->second;
}

const WorkerRecord* Journal::worker(const std::string& token) const {
    const auto found = workers_.find(token);
    return found == workers_.end() ? nullptr : &found->second;
}

std::optional<double> Journal::attainable_tflops(const std::string& gpu_uuid,
                                                 Precision precision) const {
    const auto found = tflops_.find({gpu_uuid, precision});
    return found == tflops_.end() ? std::nullopt : std::optional(found->second);
}

void Journal::append(const json::object& record) {
    const std::string line = json::serialize(record) + "\n";
    write_all(fd_, line, file_);
    // What counts is what a later reader will see: a number can lose its last digit on the way.
    apply(json::parse(line).as_object());
}

void Journal::write_header(const Setting& setting) {
    json::object record{
        {"record", "header"}, {"schema", schema}, {"created", format_utc(unix_now_ms())}};
    for_each_header_part(setting,
                         [&](const char* name, const std::string& part) { record[name] = part; });
    append(record);
    sync();
}

void Journal::write_hello(const json::object& facts) {
    append({{"record", "hello"}, {"time", format_utc(unix_now_ms())}, {"facts", facts}});
}

void Journal::write_worker(const WorkerRecord& worker) {
    json::object record{
        {"record", "worker"},    {"time", format_utc(unix_now_ms())}, {"token", worker.token},
        {"pid", worker.pid},     {"start_time", worker.start_time},   {"slot", worker.slot},
        {"gpu", worker.gpu_uuid}};
    if (!worker.group.empty()) record["group"] = worker.group;
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

void Journal::write_start(const std::string& key, int attempt, const std::string& nonce,
                          const std::string& token, const json::object& cell) {
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
            {"decision", to_name(attempt.decision)},
            {"outcome", to_json(attempt.outcome)}});
}

void Journal::sync() { sync_data(fd_, file_); }

}  // namespace isosweep
