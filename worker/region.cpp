#include "region.h"

#include "tracing.h"

namespace isosweep {
namespace {

// A deque leaves the names where they are: annotations refer to them.
thread_local std::deque<std::string> open_regions;

}  // namespace

const std::deque<std::string>& Region::open_on_this_thread() { return open_regions; }

void Region::open(const std::string& name) {
    open_regions.push_back(name);
    cuda::push_range(name.c_str());
    annotation_.emplace(at::RecordScope::USER_SCOPE);
    if (annotation_->isActive()) annotation_->before(std::string_view(open_regions.back()));
}

void Region::close() {
    annotation_.reset();
    cuda::pop_range();
    open_regions.pop_back();
}

}  // namespace isosweep
