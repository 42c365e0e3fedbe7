#pragma once

#include <isosweep/text.h>

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isosweep {

/// How a cell ended. A crash is a result here, not an error of ours.
enum class Status {
    ok,
    oom_gpu,         ///< the GPU's memory did not suffice
    oom_host,        ///< the host's memory did not suffice, or its OOM killer struck
    timeout,         ///< no result in time
    crash,           ///< ended by a signal, or by a CUDA fault after which it can do no more
    error,           ///< the worker said so, or ended with a code and no result
    unsupported,     ///< such a cell cannot be, with the reason
    invalid_result,  ///< a result that breaks the protocol or cannot be true
    spawn_failed,    ///< the program cannot be started, or ended before its hello
    interrupted,     ///< we or the cluster stopped it; not the cell's failure
    skipped,         ///< not run on purpose
    not_run,         ///< not reached
};

template <>
struct EnumNames<Status> {
    static constexpr std::pair<Status, std::string_view> value[] = {
        {Status::ok, "ok"},
        {Status::oom_gpu, "oom_gpu"},
        {Status::oom_host, "oom_host"},
        {Status::timeout, "timeout"},
        {Status::crash, "crash"},
        {Status::error, "error"},
        {Status::unsupported, "unsupported"},
        {Status::invalid_result, "invalid_result"},
        {Status::spawn_failed, "spawn_failed"},
        {Status::interrupted, "interrupted"},
        {Status::skipped, "skipped"},
        {Status::not_run, "not_run"}};
};

/// Whether the cell is not run again unasked. The others never count as attempts.
bool is_final(Status status);

/// Whether the cell counts as failed. Running out of memory is a finding, not a failure.
bool is_failed(Status status);

/// Whether a worker may report this status itself.
bool is_reportable(Status status);

/// How one attempt at a cell ended, as a value.
struct Outcome {
    Status status = Status::not_run;
    std::string message;              ///< one line: what happened and where; empty when ok
    std::string phase;                ///< the worker's last phase before a failure
    std::optional<int> exit_code;     ///< where the worker ended by one that is not 0
    std::string signal;               ///< where a signal ended it: "SIGSEGV"
    std::vector<std::string> flags;   ///< "dirty_exit:SIGSEGV", "stdout_closed", the worker's own
    std::int64_t noise_lines = 0;     ///< lines on the worker's stdout that were not for us
    boost::json::object measurement;  ///< as the worker sent it; empty unless ok
    boost::json::object error;        ///< as the worker sent it; empty when ok
};

/// The outcome as a part of a journal record, and the reverse. \throws std::exception if `object`
/// is not one
boost::json::object to_json(const Outcome& outcome);
Outcome outcome_from_json(const boost::json::object& object);
/// Its status alone.
Status status_from_json(const boost::json::object& object);

}  // namespace isosweep
