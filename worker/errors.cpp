#include "errors.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>

#include "device.h"

namespace isosweep {
namespace {

namespace json = boost::json;

constexpr int cuda_out_of_memory = 2;  // cudaErrorMemoryAllocation

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

/// Torch's messages go on with where it happened in its sources and with general advice.
std::string first_line(std::string_view message) {
    return one_line(message.substr(0, message.find('\n')));
}

json::object memory_facts(const cuda::Memory& memory) {
    json::object facts{{"free_bytes", memory.free},
                       {"allocated_bytes", memory.allocated},
                       {"reserved_bytes", memory.reserved},
                       {"capacity_bytes", memory.capacity}};
    if (memory.limit) facts["limit_bytes"] = *memory.limit;
    return facts;
}

/// The byte counts of a GPU that ran out of memory: the allocator's own of that moment, else what
/// the message and the present state tell.
json::object gpu_memory_facts(std::string_view message) {
    if (const auto failed = cuda::take_out_of_memory()) {
        json::object facts{{"requested_bytes", failed->requested}};
        for (const auto& fact : memory_facts(failed->memory)) facts.insert(fact);
        return facts;
    }
    json::object facts;
    if (const auto requested = requested_bytes_in(message)) facts["requested_bytes"] = requested;
    try {
        for (const auto& fact : memory_facts(cuda::memory())) facts.insert(fact);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
        // No context, and so no figures: that there was no room for one is the finding.
    }
    return facts;
}

Failure failure(Status status, std::string_view phase, std::string_view message) {
    Failure result{status, {{"phase", phase}, {"message", first_line(message)}}};
    json::object facts;
    if (status == Status::oom_gpu)
        facts = gpu_memory_facts(message);
    else if (status == Status::oom_host && requested_bytes_in(message) > 0)
        facts["requested_bytes"] = requested_bytes_in(message);
    for (const auto& fact : facts) result.error.insert(fact);
    return result;
}

Failure crash(int code, std::string_view phase, std::string_view message) {
    return {Status::crash,
            {{"phase", phase}, {"message", first_line(message)}, {"cuda_error", code}}};
}

}  // namespace

bool is_sticky_cuda_error(int code) {
    // ECC, NVLink; illegal address, launch timeout, context destroyed, assert, stack, instruction,
    // misaligned address, address space, program counter, launch failure, unknown.
    constexpr std::array sticky = {214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999};
    return std::find(sticky.begin(), sticky.end(), code) != sticky.end();
}

Status status_of_message(std::string_view message) {
    // A short list of what is known to come, so that a new text is an error and not a wrong guess.
    for (const auto text : {"CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
                            "CUDA out of memory", "CUDA error: out of memory"})
        if (contains(message, text)) return Status::oom_gpu;
    if (contains(message, "DefaultCPUAllocator")) return Status::oom_host;
    if (contains(message, "No available kernel")) return Status::unsupported;
    return Status::error;
}

std::int64_t requested_bytes_in(std::string_view message) {
    constexpr std::string_view lead = "ried to allocate ";
    const auto at = message.find(lead);
    if (at == std::string_view::npos) return 0;
    const std::string text(message.substr(at + lead.size(), 40));
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const std::string_view unit = trim(end);
    double scale = 1;
    if (unit.starts_with("KiB")) scale = 1024.0;
    if (unit.starts_with("MiB")) scale = 1024.0 * 1024;
    if (unit.starts_with("GiB")) scale = 1024.0 * 1024 * 1024;
    return static_cast<std::int64_t>(number * scale);
}

Failure describe_failure(std::exception_ptr exception, std::string_view phase, bool on_cuda) {
    try {
        std::rethrow_exception(std::move(exception));
    } catch (const c10::OutOfMemoryError& problem) {
        return failure(Status::oom_gpu, phase, problem.what_without_backtrace());
    } catch (const c10::AcceleratorError& problem) {
        const int code = problem.get_error_code();
        const std::string_view message = problem.what_without_backtrace();
        if (is_sticky_cuda_error(code)) return crash(code, phase, message);
        return failure(code == cuda_out_of_memory ? Status::oom_gpu : status_of_message(message),
                       phase, message);
    } catch (const c10::Error& problem) {
        const std::string_view message = problem.what_without_backtrace();
        // A fault may first show as a library's "execution failed".
        if (const int code = on_cuda ? cuda::pending_error() : 0; is_sticky_cuda_error(code))
            return crash(code, phase, message);
        return failure(status_of_message(message), phase, message);
    } catch (const std::bad_alloc&) {
        return failure(Status::oom_host, phase, "the host's memory did not suffice");
    } catch (const std::exception& problem) {
        return failure(status_of_message(problem.what()), phase, problem.what());
    } catch (...) {
        return failure(Status::error, phase, "an exception of an unknown type");
    }
}

}  // namespace isosweep
