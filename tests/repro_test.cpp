#include "orchestrator/repro.h"

#include <doctest/doctest.h>

#include "orchestrator/process.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

TEST_CASE("a cell by hand: what names it and what is not at its default, as a shell reads it") {
    Cell cell;
    set_model(cell, "medium", *find_model_config("medium"));
    cell.device = Device::cuda;
    CHECK(command_by_hand(cell) ==
          "isosweep-worker --model-size medium --context-length 512 --batch-size 4 --pass-type "
          "forward --device cuda");
    cell.vocab_size = 50'000;
    cell.precision = Precision::bf16;
    cell.sync = false;
    cell.gpu_memory_limit = {1 << 30};
    cell.passes = {.memory = true, .pipelined = true, .energy = false};
    cell.replicate = 3;
    CHECK(command_by_hand(cell) ==
          "isosweep-worker --model-size medium --context-length 512 --batch-size 4 --vocab-size "
          "50000 --pass-type forward --precision bf16 --sync off --device cuda "
          "--gpu-memory-limit 1073741824 --passes memory,pipelined");
    Cell own;
    set_model(own, "my size", {64, 128, 2, 4});
    CHECK(command_by_hand(own) ==
          "isosweep-worker --model-size 'my size' --d-model 64 --d-ff 128 --num-layers 2 "
          "--num-heads 4 --context-length 512 --batch-size 4 --pass-type forward --device auto");
}

TEST_CASE("a script asks the worker for the cell, and names the command by hand") {
    Cell cell;
    const std::string script = repro_script(
        cell, {{"a b/worker", "--serve"}, "GPU-1", {"CUDA_VISIBLE_DEVICES=0", "OMP_X=it's 2"}, 0});
    CHECK(script.starts_with("#!/bin/sh\n# Runs this cell alone"));
    CHECK(contains(script, "\n# By hand: isosweep-worker --model-size small "));
    CHECK(contains(script, "|\n        'a b/worker' --serve\n"));
    CHECK(contains(script, "export CUDA_VISIBLE_DEVICES=GPU-1\n"));
    CHECK_FALSE(contains(script, "CUDA_VISIBLE_DEVICES=0"));
    CHECK(contains(script, "export OMP_X='it'\\''s 2'\n"));
    CHECK_FALSE(contains(script, "memory-limit"));
    cell.custom["x"] = 1;
    const std::string other = repro_script(cell, {{"w", "--serve"}, "", {}, 1 << 30});
    CHECK_FALSE(contains(other, "By hand"));
    CHECK_FALSE(contains(other, "export CUDA"));
    CHECK(contains(other, "held its workers to memory-limit = 1.00 GiB, this does not.\n"));
    CHECK(repro_request(cell).ends_with("}\n"));
}

TEST_CASE("a script runs the worker plainly, inside gdb and under compute-sanitizer") {
    // A shell of its own, so that no tool of this machine is found.
    Sandbox sandbox("");
    const std::filesystem::path bin = sandbox.path("bin");
    std::filesystem::create_directory(bin);
    const auto add = [&](const std::string& name, const std::string& script) {
        write_file(bin / name, "#!/bin/sh\n" + script);
        std::filesystem::permissions(bin / name, std::filesystem::perms::owner_all);
    };
    for (const char* const program : {"dirname", "cat", "env"})
        for (const char* const folder : {"/bin/", "/usr/bin/"})
            if (std::filesystem::exists(std::string(folder) + program) &&
                !std::filesystem::exists(bin / program))
                std::filesystem::create_symlink(std::string(folder) + program, bin / program);
    add("work er", "echo \"worker $* with $OMP_X\"; cat\n");
    const std::string worker = (bin / "work er").string();
    const std::filesystem::path folder = sandbox.path("it's a cell");
    std::filesystem::create_directory(folder);
    Cell cell;
    cell.custom["x"] = "a'b \"c\" $d";
    write_file(folder / "repro.sh",
               repro_script(cell, {{"env", "L=1", worker, "--serve"}, "", {"OMP_X=2 3"}, 0}));
    if (const std::string shellcheck = find_program("shellcheck"); !shellcheck.empty()) {
        const Ran checked = sandbox.wait(
            sandbox.start_program({shellcheck, "-s", "sh", (folder / "repro.sh").string()}));
        CHECK_MESSAGE(checked.exit_code == 0, checked.out);
    }
    sandbox.set_variable("PATH=" + bin.string());
    const auto script = [&](std::vector<std::string> words) {
        words.insert(words.begin(), {"/bin/sh", (folder / "repro.sh").string()});
        return sandbox.wait(sandbox.start_program(std::move(words)));
    };

    const std::string answer = "worker --serve with 2 3\n" + repro_request(cell);
    CHECK(script({}).out == answer);

    const Ran no_gdb = script({"gdb"});
    CHECK(no_gdb.exit_code == 5);
    CHECK(no_gdb.err == "repro.sh: gdb is not in PATH: install it, with your system's packages\n");
    add("gdb", "echo \"L is $L\"; printf '%s\\n' \"$@\"; cat \"$REPRO_REQUEST\"\n");
    const Ran no_request = script({"gdb"});
    CHECK(no_request.exit_code == 5);
    CHECK(no_request.err == "repro.sh: there is no " + (folder / "request.json").string() +
                                ": it belongs beside this script\n");
    write_file(folder / "request.json", repro_request(cell));
    const Ran gdb = script({"gdb", "-q", "-nx"});
    CHECK(gdb.exit_code == 0);
    CHECK(gdb.out == "L is 1\n-q\n-nx\n-ex\nset args --serve <\"$REPRO_REQUEST\"\n--args\n" +
                         worker + "\n--serve\n" + repro_request(cell));

    CHECK(script({"compute-sanitizer"}).exit_code == 5);
    CHECK(
        contains(sandbox.file("err.txt"), "repro.sh: compute-sanitizer is not in PATH: it comes"));
    add("compute-sanitizer", "echo \"$1 $2\"; shift 2; \"$@\"; exit 7\n");
    const Ran checked = script({"compute-sanitizer", "--tool", "racecheck"});
    CHECK(checked.exit_code == 7);
    CHECK(checked.out == "--tool racecheck\n" + answer);

    const Ran help = script({"--help"});
    CHECK(help.exit_code == 2);
    CHECK(help.err == "usage: repro.sh [gdb [OPTIONS] | compute-sanitizer [OPTIONS]]\n");
    CHECK(help.out.empty());
}
