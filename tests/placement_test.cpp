// Where the workers of several slots run, and in which order their cells.
#include "orchestrator/placement.h"

#include <doctest/doctest.h>

#include <set>

#include "orchestrator/journal.h"
#include "orchestrator/machine.h"
#include "orchestrator/plan.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

std::vector<CpuList> single_cores(int count) {
    std::vector<CpuList> cores;
    for (int cpu = 0; cpu < count; ++cpu) cores.push_back({cpu});
    return cores;
}

/// The CPUs of each slot, as "0-1 | 2-3".
std::string cpus_of(const std::vector<Placement>& placements) {
    std::vector<std::string> all;
    for (const Placement& placement : placements) all.push_back(to_text(placement.cpus));
    return join(all, " | ");
}

std::vector<int> threads_of(const std::vector<Placement>& placements) {
    std::vector<int> threads;
    for (const Placement& placement : placements) threads.push_back(placement.threads);
    return threads;
}

void write_deep(const std::filesystem::path& file, const std::string& text) {
    std::filesystem::create_directories(file.parent_path());
    write_file(file, text);
}

std::vector<PlannedCell> plan_of(const std::vector<std::string>& sizes,
                                 const std::vector<std::string>& pass_types) {
    Grid grid;
    grid.values = {{"model-size", sizes}, {"pass-type", pass_types}};
    return make_plan(grid);
}

/// "small forward", from the first cell on.
std::vector<std::string> names(const std::vector<PlannedCell>& cells) {
    std::vector<std::string> all;
    for (const PlannedCell& planned : cells)
        all.push_back(planned.cell.model_size + " " + to_text(planned.cell.pass_type));
    return all;
}

/// The values of a member of the records of one kind, in their order.
std::string in_records(const Sandbox& sandbox, const std::string& kind, const std::string& name) {
    std::string values;
    std::istringstream lines(sandbox.file("results/x/journal.jsonl"));
    for (std::string line; std::getline(lines, line);) {
        if (!contains(line, "{\"record\":\"" + kind + "\"")) continue;
        const auto at = line.find("\"" + name + "\":");
        const auto begin = at + name.size() + 3;
        if (at != std::string::npos)
            values += (values.empty() ? "" : " ") +
                      line.substr(begin, line.find_first_of(",}", begin) - begin);
    }
    return values;
}

}  // namespace

TEST_CASE("lists of CPUs are written as the kernel's and read again") {
    CHECK(to_text(CpuList{0, 1, 2, 3, 8, 10, 11}) == "0-3,8,10-11");
    CHECK(to_text(CpuList{}).empty());
    CHECK(parse_cpu_list("0-3,8,10-11") == CpuList{0, 1, 2, 3, 8, 10, 11});
    for (const char* text : {"", "x", "1-", "1,,2", "-3", "3-1"}) {
        CAPTURE(text);
        CHECK(parse_cpu_list(text).empty());
    }
}

TEST_CASE("what is beside a device, and which CPUs share a core, is the kernel's to tell") {
    const TempFolder root;
    const auto device = root / "bus/pci/devices/0000:3b:00.0";
    write_deep(device / "local_cpulist", "0-3,8-11\n");
    write_deep(device / "numa_node", "1\n");
    const Locality locality = locality_of("0000:3b:00.0", root.path());
    CHECK(locality.cpus == CpuList{0, 1, 2, 3, 8, 9, 10, 11});
    CHECK(locality.memory_node == 1);
    write_deep(device / "numa_node", "-1\n");
    CHECK_FALSE(locality_of("0000:3b:00.0", root.path()).memory_node);
    CHECK(locality_of("0000:5e:00.0", root.path()).cpus.empty());
    CHECK(locality_of("", root.path()).cpus.empty());

    for (const auto& [cpu, siblings] :
         {std::pair{"cpu0", "0,4\n"}, {"cpu1", "1,5\n"}, {"cpu4", "0,4\n"}, {"cpu5", "1,5\n"}})
        write_deep(root / "devices/system/cpu" / cpu / "topology/thread_siblings_list", siblings);
    CHECK(cores_of({0, 1, 2, 4}, root.path()) == std::vector<CpuList>{{0, 4}, {1}, {2}});
}

TEST_CASE("slots without a known neighbourhood share all cores alike") {
    CHECK(cpus_of(share_cores(single_cores(8), {{}, {}})) == "0-3 | 4-7");
    CHECK(cpus_of(share_cores(single_cores(8), {{}, {}, {}})) == "0-1 | 2-3 | 4-5");
    CHECK(threads_of(share_cores(single_cores(8), {{}, {}, {}})) == std::vector{2, 2, 2});
    // Threads of a core stay together, and count once.
    const std::vector<Placement> two = share_cores({{0, 4}, {1, 5}, {2, 6}, {3, 7}}, {{}, {}});
    CHECK(cpus_of(two) == "0-1,4-5 | 2-3,6-7");
    CHECK(threads_of(two) == std::vector{2, 2});
}

TEST_CASE("more slots than cores are kept to none, with one thread each") {
    const std::vector<Placement> placements = share_cores(single_cores(2), {{}, {}, {}});
    CHECK(cpus_of(placements) == " |  | ");
    CHECK(threads_of(placements) == std::vector{1, 1, 1});
}

TEST_CASE("slots share the cores beside their GPUs") {
    const Locality near{parse_cpu_list("0-7"), 0};
    const Locality far{parse_cpu_list("8-15"), 1};
    const std::vector<Placement> placements = share_cores(single_cores(16), {near, far, near});
    CHECK(cpus_of(placements) == "0-3 | 8-15 | 4-7");
    CHECK(threads_of(placements) == std::vector{4, 8, 4});
    CHECK(placements[0].memory_node == 0);
    CHECK(placements[1].memory_node == 1);
    // Of the cores beside it those are taken that are ours.
    CHECK(cpus_of(share_cores(single_cores(10), {near, far})) == "0-7 | 8-9");
    // Where one neighbourhood has none of ours, or is not known, it counts for nobody.
    for (const Locality& unknown : {far, Locality{}}) {
        const std::vector<Placement> shared = share_cores(single_cores(8), {near, unknown});
        CHECK(cpus_of(shared) == "0-3 | 4-7");
        CHECK_FALSE(shared[0].memory_node);
    }
}

TEST_CASE("only several slots without a launcher are placed") {
    Options options;
    const auto is_placed = [&](std::size_t slots) {
        const auto placed = place_slots(std::vector<Slot>(slots), options, {});
        return std::any_of(placed.begin(), placed.end(),
                           [](const Slot& slot) { return slot.placement.threads > 0; });
    };
    CHECK(is_placed(2));
    CHECK_FALSE(is_placed(1));
    options.launcher = {"srun"};
    CHECK_FALSE(is_placed(2));
    options.launcher.clear();
    options.cpu_affinity = CpuAffinity::off;
    CHECK_FALSE(is_placed(2));
}

TEST_CASE("the longest cells come first, those that are alike in the plan's order") {
    const auto plan = plan_of({"small", "large", "tiny"}, {"forward_backward", "forward"});
    CHECK(names(longest_first(plan)) ==
          std::vector<std::string>{"large forward_backward", "large forward",
                                   "small forward_backward", "small forward",
                                   "tiny forward_backward", "tiny forward"});
    const auto alike = plan_of({"small"}, {"train_step", "forward_backward"});
    CHECK(names(longest_first(alike)) == names(alike));
}

TEST_CASE("two slots do not run replicates of one cell side by side") {
    std::vector<PlannedCell> plan;
    for (const PlannedCell& planned : plan_of({"tiny", "small", "large"}, {"forward"}))
        for (int replicate = 0; replicate < 3; ++replicate) plan.push_back(planned);
    CHECK(names(longest_first(plan)) ==
          std::vector<std::string>{"large forward", "small forward", "large forward",
                                   "tiny forward", "small forward", "large forward", "tiny forward",
                                   "small forward", "tiny forward"});
}

TEST_SUITE_BEGIN("sweep");

TEST_CASE("each of several jobs has its share of the cores") {
    const std::vector<Slot> slots = place_slots(std::vector<Slot>(2), {}, {});
    const auto list = [](const CpuList& cpus) {
        std::string text;
        for (const int cpu : cpus) text += (text.empty() ? "" : ",") + std::to_string(cpu);
        return text;
    };
    const std::string all = list(affinity_of(0));
    // On a machine with one core both have it.
    const auto seen_in = [&](std::size_t slot) {
        const CpuList& cpus = slots[slot].placement.cpus;
        return cpus.empty() ? all : list(cpus);
    };
    const std::string share = std::to_string(slots[0].placement.threads);
    Sandbox sandbox("axis.behaviour = place, place:301\njobs = 2\n");
    ::unsetenv("OMP_NUM_THREADS");
    CHECK(sandbox.sweep().exit_code == 0);
    CHECK(sandbox.column("cpus_seen") == seen_in(0) + " " + seen_in(1));
    CHECK(sandbox.column("threads_seen") == share + " " + share);
    CHECK(sandbox.column("cpu_affinity") ==
          to_text(slots[0].placement.cpus) + " " + to_text(slots[1].placement.cpus));

    CHECK(sandbox.sweep({"--fresh", "--cpu-affinity", "off"}).exit_code == 0);
    CHECK(sandbox.column("cpus_seen") == all + " " + all);
    CHECK(sandbox.column("threads_seen") == "unset unset");
    CHECK(sandbox.column("cpu_affinity") == " ");

    CHECK(sandbox.sweep({"--fresh", "--jobs", "1"}).exit_code == 0);
    CHECK(sandbox.column("cpus_seen") == all + " " + all);
    CHECK(sandbox.column("threads_seen") == "unset unset");

    const std::string many = std::to_string(cores_of(affinity_of(0)).size() + 1);
    const Ran ran = sandbox.sweep({"--fresh", "--jobs", many});
    CHECK(contains(ran.err, many + " workers at a time and fewer cores"));
    CHECK(sandbox.column("cpus_seen") == all + " " + all);
    CHECK(sandbox.column("threads_seen") == "1 1");

    sandbox.set_variable("OMP_NUM_THREADS=7");
    CHECK(sandbox.sweep({"--fresh"}).exit_code == 0);
    CHECK(sandbox.column("threads_seen") == "7 7");
}

TEST_CASE("the workers of two GPUs, those that stand by included, keep apart") {
    const auto sandbox = Sandbox::with_gpu(
        "axis.behaviour = place:100, place:101, place:102, place:103, "
        "place:104, place:105\n");
    sandbox->set_variable("FAKE_NVML_COUNT=2");
    sandbox->set_variable("CUDA_VISIBLE_DEVICES=0,1");
    const Ran ran = sandbox->sweep({"--passes", "none"});
    CHECK_MESSAGE(ran.exit_code == 0, ran.err);
    const Journal journal = Journal::read(sandbox->path("results/x/journal.jsonl"));
    std::map<std::string, std::set<std::string>> affinities;
    for (const auto& entry : journal.workers())
        affinities[std::string(entry.second.gpu_uuid)].insert(to_text(entry.second.cpus));
    const std::vector<Slot> slots = place_slots({{"GPU-fake-0"}, {"GPU-fake-1"}}, {}, {});
    for (const Slot& slot : slots) {
        CAPTURE(slot.gpu_uuid);
        CHECK(affinities[slot.gpu_uuid] == std::set{to_text(slot.placement.cpus)});
    }
    CHECK(journal.workers().size() >= 6);
    CHECK(sandbox->column("behaviour") ==
          "place:100 place:101 place:102 place:103 place:104 place:105");
}

TEST_CASE("of several slots none ends long after the others: long cells come first") {
    const std::string config = "axis.behaviour = ok\ncontext-length = 1..5\nstandby = off\n";
    const auto begun = [&](const std::vector<std::string>& flags) {
        Sandbox sandbox(config);
        CHECK(sandbox.sweep(flags).exit_code == 0);
        CHECK(sandbox.column("context_length") == "1 2 3 4 5");
        return in_records(sandbox, "start", "context_length");
    };
    CHECK(begun({"--jobs", "2"}) == "5 4 3 2 1");
    CHECK(begun({}) == "1 2 3 4 5");
    CHECK(begun({"--jobs", "2", "--prune"}) == "1 2 3 4 5");
    CHECK(begun({"--jobs", "2", "--order", "shuffle"}) == begun({"--order", "shuffle"}));
}

TEST_CASE("a worker of the last cells does not keep the one that stands by in another slot") {
    Sandbox sandbox("axis.behaviour = build:300, build:600, slow:1500\njobs = 2\n");
    const pid_t pid = sandbox.start({"run", "x.cfg"});
    // Each slot's first worker has another beside it; that of the first slot gets the third cell.
    sandbox.wait_until([&] { return sandbox.answers() == 2; });
    const Journal journal = Journal::read(sandbox.path("results/x/journal.jsonl"));
    std::int64_t idle = 0;
    for (const auto& entry : journal.workers())
        if (entry.second.slot == 1) idle = std::max(idle, entry.second.pid);
    sandbox.wait_until(
        [&] { return file_contents("/proc/" + std::to_string(idle) + "/stat").empty(); });
    CHECK(sandbox.answers() == 2);
    CHECK(sandbox.wait(pid).exit_code == 0);
}

TEST_SUITE_END();
