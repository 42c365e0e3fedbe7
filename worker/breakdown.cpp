#include "breakdown.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace isosweep {
namespace {

namespace json = boost::json;
using Kind = ProfileEvent::Kind;

constexpr std::size_t none = static_cast<std::size_t>(-1);

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// "aten::addmm_" as "addmm".
std::string_view base_name(std::string_view name) {
    if (const auto colons = name.rfind("::"); colons != std::string_view::npos)
        name.remove_prefix(colons + 2);
    while (name.ends_with('_')) name.remove_suffix(1);
    return name;
}

/// The group of an operation whose name tells it.
std::optional<WorkGroup> group_of_operation(std::string_view full_name) {
    const std::string_view name = base_name(full_name);
    const auto contains = [&](std::string_view part) {
        return name.find(part) != std::string_view::npos;
    };
    if (is_one_of(name, {"mm", "bmm", "addmm", "addbmm", "baddbmm", "addmv", "mv", "dot", "matmul",
                         "linear", "mkldnn_linear", "_addmm_activation", "_scaled_mm"}))
        return WorkGroup::matrix_products;
    if (contains("scaled_dot_product") || contains("_flash_attention") ||
        contains("_efficient_attention") || contains("_cudnn_attention"))
        return WorkGroup::attention;
    if (contains("log_softmax") || contains("nll_loss") || contains("cross_entropy"))
        return WorkGroup::loss;
    if (contains("softmax")) return WorkGroup::softmax;
    if (contains("rms_norm") || contains("layer_norm")) return WorkGroup::normalisation;
    if (contains("embedding")) return WorkGroup::embedding;
    if (contains("_fused_adam") || contains("_foreach_")) return WorkGroup::optimizer;
    return std::nullopt;
}

std::optional<WorkGroup> group_of_region(std::string_view name) {
    constexpr std::pair<std::string_view, WorkGroup> groups[] = {
        {"attention", WorkGroup::attention}, {"softmax", WorkGroup::softmax},
        {"norm", WorkGroup::normalisation},  {"rotary", WorkGroup::rotary},
        {"embedding", WorkGroup::embedding}, {"loss", WorkGroup::loss},
        {"optimizer", WorkGroup::optimizer}};
    for (const auto& [region, group] : groups)
        if (region == name) return group;
    return std::nullopt;
}

/// Copies, casts, sets and what makes a tensor.
bool is_of_memory(std::string_view full_name) {
    return is_one_of(base_name(full_name),
                     {"copy", "_to_copy", "to", "cast", "clone", "contiguous", "fill", "zero",
                      "zeros", "zeros_like", "ones_like", "empty", "empty_like", "empty_strided",
                      "resize", "cat", "_foreach_copy"});
}

/// Time in which something of one group ran.
struct Segment {
    std::int64_t start_ns;
    std::int64_t end_ns;
    WorkGroup group;
};

/// What the host did in one step, nested by time on each thread.
class HostEvents {
  public:
    HostEvents(std::span<const ProfileEvent> events, const ProfileEvent& step) {
        for (const ProfileEvent& event : events)
            if (event.kind != Kind::kernel && event.kind != Kind::memory &&
                event.start_ns >= step.start_ns && event.end_ns <= step.end_ns)
                events_.push_back(&event);
        std::stable_sort(events_.begin(), events_.end(), [](const auto* a, const auto* b) {
            return std::tuple(a->thread, a->start_ns, -a->end_ns) <
                   std::tuple(b->thread, b->start_ns, -b->end_ns);
        });
        parents_.resize(events_.size(), none);
        for (std::size_t i = 0; i < events_.size(); ++i) link(i);
    }

    /// The group of a kernel, copy or set on the GPU.
    WorkGroup group_of(const ProfileEvent& on_gpu) const {
        const auto found = by_correlation_.find(on_gpu.correlation);
        const std::size_t operation = found == by_correlation_.end() ? none : found->second;
        if (on_gpu.kind == Kind::memory) return group_around(operation).value_or(WorkGroup::memory);
        return operation == none ? WorkGroup::elementwise : group_of(operation);
    }

    /// What each operation did itself, without those that it called. `count` hears the group of
    /// each that called none.
    template <class Count>
    std::vector<Segment> self_times(const Count& count) const {
        std::vector<Segment> segments;
        std::vector<std::size_t> open;
        std::int64_t reached = 0;
        const auto advance = [&](std::int64_t time) {
            if (!open.empty() && time > reached)
                segments.push_back({reached, time, group_of(open.back())});
            reached = time;
        };
        const auto close_until = [&](std::int64_t time) {
            while (!open.empty() && events_[open.back()]->end_ns <= time) {
                advance(events_[open.back()]->end_ns);
                open.pop_back();
            }
        };
        constexpr auto forever = std::numeric_limits<std::int64_t>::max();
        for (std::size_t i = 0; i < events_.size(); ++i) {
            const ProfileEvent& event = *events_[i];
            if (event.kind != Kind::operation) continue;
            close_until(!open.empty() && events_[open.back()]->thread != event.thread
                            ? forever
                            : event.start_ns);
            advance(event.start_ns);
            open.push_back(i);
            if (!calls_operations_.contains(i)) count(group_of(i));
        }
        close_until(forever);
        return segments;
    }

  private:
    /// Enters event `i`; those before it, in their order, are in.
    void link(std::size_t i) {
        const ProfileEvent& event = *events_[i];
        // The event before it encloses it, or one of those around that one does.
        std::size_t parent = i == 0 ? none : i - 1;
        while (parent != none &&
               (events_[parent]->thread != event.thread || events_[parent]->end_ns < event.end_ns))
            parent = parents_[parent];
        parents_[i] = parent;
        if (event.kind != Kind::operation) return;
        if (event.correlation != 0) by_correlation_[event.correlation] = i;
        if (event.sequence != ProfileEvent::no_sequence)
            by_sequence_[{event.thread, event.sequence}] = i;
        while (parent != none && events_[parent]->kind != Kind::operation)
            parent = parents_[parent];
        if (parent != none) calls_operations_.insert(parent);
    }

    WorkGroup group_of(std::size_t operation) const {
        const bool of_memory = is_of_memory(events_[operation]->name);
        for (std::size_t i = operation; i != none && !of_memory; i = parents_[i])
            if (events_[i]->kind == Kind::operation)
                if (const auto group = group_of_operation(events_[i]->name)) return *group;
        return group_around(operation).value_or(of_memory ? WorkGroup::memory
                                                          : WorkGroup::elementwise);
    }

    /// The group of the innermost region that has one, around an operation or, in the backward
    /// pass, around the operation that it belongs to.
    std::optional<WorkGroup> group_around(std::size_t operation) const {
        for (std::size_t i = operation; i != none; i = parents_[i]) {
            const ProfileEvent& event = *events_[i];
            if (event.kind == Kind::region)
                if (const auto group = group_of_region(event.name)) return group;
            if (event.kind != Kind::backward_node || event.sequence == ProfileEvent::no_sequence)
                continue;
            const auto forward = by_sequence_.find({event.forward_thread, event.sequence});
            if (forward == by_sequence_.end() || forward->second == i) continue;
            if (const auto group = group_around(forward->second)) return group;
        }
        return std::nullopt;
    }

    std::vector<const ProfileEvent*> events_;
    std::vector<std::size_t> parents_;
    std::set<std::size_t> calls_operations_;
    std::unordered_map<std::uint64_t, std::size_t> by_correlation_;
    /// Several operations may name the number of the next backward node; the last makes it.
    std::map<std::pair<std::uint64_t, std::int64_t>, std::size_t> by_sequence_;
};

const ProfileEvent& last_step(std::span<const ProfileEvent> events) {
    const ProfileEvent* step = nullptr;
    for (const ProfileEvent& event : events)
        if (event.kind == Kind::region && event.name == step_region &&
            (step == nullptr || event.start_ns > step->start_ns))
            step = &event;
    if (step == nullptr) throw std::runtime_error("the profiler saw no step");
    return *step;
}

using GroupTimes = std::array<double, num_work_groups>;

double sum(const GroupTimes& times) { return std::accumulate(times.begin(), times.end(), 0.0); }

/// Nanoseconds by group; segments that run at the same time share it.
GroupTimes shared_times(const std::vector<Segment>& segments) {
    struct Edge {
        std::int64_t time_ns;
        std::int64_t change;
        std::size_t group;
    };
    std::vector<Edge> edges;
    for (const Segment& segment : segments) {
        edges.push_back({segment.start_ns, +1, static_cast<std::size_t>(segment.group)});
        edges.push_back({segment.end_ns, -1, static_cast<std::size_t>(segment.group)});
    }
    std::sort(edges.begin(), edges.end(),
              [](const Edge& a, const Edge& b) { return a.time_ns < b.time_ns; });
    GroupTimes times{};
    std::array<std::int64_t, num_work_groups> running{};
    std::int64_t all_running = 0;
    std::int64_t reached = 0;
    for (const Edge& edge : edges) {
        if (all_running > 0)
            for (std::size_t group = 0; group < num_work_groups; ++group)
                times[group] += static_cast<double>(edge.time_ns - reached) *
                                static_cast<double>(running[group]) /
                                static_cast<double>(all_running);
        reached = edge.time_ns;
        running[edge.group] += edge.change;
        all_running += edge.change;
    }
    return times;
}

}  // namespace

std::string_view name_of(WorkGroup group) {
    constexpr std::array<std::string_view, num_work_groups> names = {
        "matrix products", "attention", "softmax",   "normalisation", "rotary", "elementwise",
        "embedding",       "loss",      "optimizer", "memory",        "gaps"};
    return names[static_cast<std::size_t>(group)];
}

double Breakdown::sum_ms() const {
    double sum = 0;
    for (const Part& part : parts) sum += part.ms;
    return sum;
}

Breakdown break_down(std::span<const ProfileEvent> events, bool on_gpu) {
    const ProfileEvent& step = last_step(events);
    const HostEvents host(events, step);
    std::array<std::int64_t, num_work_groups> counts{};
    const auto count = [&](WorkGroup group) { ++counts[static_cast<std::size_t>(group)]; };
    std::vector<Segment> segments;
    if (on_gpu) {
        for (const ProfileEvent& event : events) {
            if (event.kind != Kind::kernel && event.kind != Kind::memory) continue;
            if (event.start_ns < step.start_ns || event.start_ns >= step.end_ns) continue;
            segments.push_back({event.start_ns, event.end_ns, host.group_of(event)});
            count(segments.back().group);
        }
    } else {
        segments = host.self_times(count);
    }
    if (segments.empty())
        throw std::runtime_error(on_gpu ? "the profiler saw no kernels: is another one attached?"
                                        : "the profiler saw no operations");

    GroupTimes times = shared_times(segments);
    const auto step_ns = static_cast<double>(step.end_ns - step.start_ns);
    times[static_cast<std::size_t>(WorkGroup::gaps)] = std::max(step_ns - sum(times), 0.0);
    Breakdown breakdown;
    for (std::size_t group = 0; group < num_work_groups; ++group)
        if (times[group] > 0 || counts[group] > 0)
            breakdown.parts.push_back(
                {static_cast<WorkGroup>(group), times[group] * 1e-6, counts[group]});
    return breakdown;
}

json::object to_json(const Breakdown& breakdown) {
    const double sum_ms = breakdown.sum_ms();
    json::array groups;
    for (const Breakdown::Part& part : breakdown.parts)
        groups.push_back({{"group", name_of(part.group)}, {"ms", part.ms}, {"count", part.count}});
    return {{"groups", std::move(groups)}, {"sum_ms", sum_ms}};
}

}  // namespace isosweep
