#include "orchestrator/repro.h"

#include <doctest/doctest.h>

using namespace isosweep;

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
    const std::string script = repro_script(cell, {"a b/worker", "--serve"}, "GPU-1");
    CHECK(script.starts_with("#!/bin/sh\n# Runs this cell alone"));
    CHECK(script.find("\n# By hand: isosweep-worker --model-size small ") != std::string::npos);
    CHECK(script.find("env CUDA_VISIBLE_DEVICES=GPU-1 'a b/worker' --serve\n") !=
          std::string::npos);
    cell.custom["x"] = 1;
    CHECK(repro_script(cell, {"w"}, "").find("By hand") == std::string::npos);
}
