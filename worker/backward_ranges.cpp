#include "backward_ranges.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "region.h"
#include "tracing.h"

namespace isosweep {
namespace {

using Names = std::deque<std::string>;

std::mutex mutex;
/// By the thread and the number that join an operation to its backward node. Several operations may
/// name the same number; the last makes the node.
std::map<std::pair<std::uint64_t, std::int64_t>, Names> regions_of_operations;

/// The ranges that are open for one backward node.
struct OpenRanges : at::ObserverContext {
    std::size_t count = 0;
};

/// The regions inside the forward pass.
Names inner_regions() {
    Names names = Region::open_on_this_thread();
    const auto forward = std::find(names.begin(), names.end(), "forward");
    if (forward != names.end()) names.erase(names.begin(), forward + 1);
    return names;
}

std::unique_ptr<at::ObserverContext> on_start(const at::RecordFunction& function) {
    if (function.seqNr() < 0) return nullptr;
    const std::lock_guard lock(mutex);
    if (function.scope() == at::RecordScope::FUNCTION) {
        if (function.forwardThreadId() == 0)
            regions_of_operations[{function.threadId(), function.seqNr()}] = inner_regions();
        return nullptr;
    }
    const auto names = regions_of_operations.find({function.forwardThreadId(), function.seqNr()});
    if (names == regions_of_operations.end()) return nullptr;
    auto open = std::make_unique<OpenRanges>();
    const auto push = [&](const std::string& name) {
        cuda::push_range(name.c_str());
        ++open->count;
    };
    if (Region::open_on_this_thread().empty()) push("backward");
    for (const std::string& name : names->second) push(name);
    return open;
}

void on_end(const at::RecordFunction&, at::ObserverContext* context) {
    if (context == nullptr) return;
    for (auto left = static_cast<const OpenRanges*>(context)->count; left > 0; --left)
        cuda::pop_range();
}

}  // namespace

BackwardRanges::BackwardRanges()
    : callback_(at::addGlobalCallback(
          at::RecordFunctionCallback(on_start, on_end)
              .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}))) {}

BackwardRanges::~BackwardRanges() {
    at::removeCallback(callback_);
    regions_of_operations.clear();
}

}  // namespace isosweep
