#include <stdexcept>

#include "device.h"

namespace isosweep::cuda {
namespace {

[[noreturn]] void no_cuda() { throw std::logic_error("this build has no CUDA"); }

}  // namespace

bool is_built_in() { return false; }
bool is_usable() { return false; }
void initialize() { no_cuda(); }
Properties properties() { no_cuda(); }
void synchronize() { no_cuda(); }
int pending_error() noexcept { return 0; }
Memory memory() { no_cuda(); }
AllocatorCounts allocator_counts() { no_cuda(); }
void release_workspaces() { no_cuda(); }
void start_allocation_log() { no_cuda(); }
std::vector<AllocationEvent> stop_allocation_log() { no_cuda(); }
void reset_peak_memory() { no_cuda(); }
void limit_memory(std::optional<std::int64_t>) { no_cuda(); }
void release_cache() { no_cuda(); }
std::optional<OutOfMemory> take_out_of_memory() { return std::nullopt; }

Event::Event() { no_cuda(); }
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
void Event::record() { no_cuda(); }
double Event::ms_until(const Event&) const { no_cuda(); }

struct Graph::State {};
Graph::Graph() { no_cuda(); }
Graph::~Graph() = default;
void Graph::capture(const std::function<void()>&) { no_cuda(); }
void Graph::replay() { no_cuda(); }

}  // namespace isosweep::cuda
