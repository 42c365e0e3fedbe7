#pragma once

#include <isosweep/outcome.h>

#include <boost/json/object.hpp>
#include <exception>
#include <string_view>

namespace isosweep {

/// How a cell failed, as the protocol's result line tells it: `error` holds "phase", "message"
/// and, where memory was short, byte counts.
struct Failure {
    Status status = Status::error;
    boost::json::object error;
};

/// What an exception that ended a cell stands for. Call it when the cell's tensors are gone, and
/// before the next cell; `on_cuda` says whether the cell used the GPU.
///
/// Status::crash is a fault after which CUDA is of no use to this process: it should say so, touch
/// no tensor any more, and end.
Failure describe_failure(std::exception_ptr exception, std::string_view phase, bool on_cuda);

/// Whether a CUDA error code (cudaError_t) stays with the process until its end.
bool is_sticky_cuda_error(int code);

/// What the text of an exception without a telling type stands for: allocations that failed in a
/// library, kernels that there are not. Anything else is Status::error.
Status status_of_message(std::string_view message);

/// The bytes in "Tried to allocate 8.00 GiB" or "tried to allocate 640 bytes", 0 if there are none.
std::int64_t requested_bytes_in(std::string_view message);

}  // namespace isosweep
