#include <stdexcept>

#include "tracing.h"

namespace isosweep::cuda {
namespace {

[[noreturn]] void no_cuda() { throw std::logic_error("this build has no CUDA"); }

}  // namespace

bool has_ranges() { return false; }
void push_range(const char*) {}
void pop_range() {}
void start_profiler() { no_cuda(); }
void stop_profiler() { no_cuda(); }
void start_memory_history() { no_cuda(); }
void stop_memory_history() { no_cuda(); }
std::string memory_snapshot() { no_cuda(); }

}  // namespace isosweep::cuda
