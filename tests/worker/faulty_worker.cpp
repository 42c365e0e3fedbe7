// The real worker, with faults on request: the cell's custom axis `fault` says which. What is meant
// to fail does so in the middle of the work that the worker does anyway, on a real GPU.
//   oom_forward, oom_backward, oom_optimizer   the memory ends there
//   assert                                     a device-side assertion while steps are measured
//   kill                                       SIGKILL in the middle of a step
//   leak                                       a process outside of our group holds 8 GiB of the
//   GPU
// Any other word is a cell without a fault.

#include <isosweep/benchmark.h>
#include <isosweep/build_info.h>
#include <isosweep/protocol.h>
#include <signal.h>
#include <torch/torch.h>
#include <torch/version.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>

#include "device.h"
#include "output.h"
#include "run_cell.h"

namespace isosweep {
namespace {

/// Leaves just so much memory that the cell's step ends in this part.
void limit_memory(Cell& cell, const std::string& part) {
    const std::int64_t weights = 4 * num_params(model_config(cell));
    constexpr std::int64_t mebibyte = std::int64_t{1} << 20;
    if (part == "forward") {
        cell.gpu_memory_limit.bytes = weights + 300 * mebibyte;
        return;
    }
    // With few tokens what counts is one gradient and two moments per weight.
    cell.batch_size = 1;
    cell.context_length = 16;
    cell.gpu_memory_limit.bytes = part == "backward" ? weights * 3 / 2 : weights * 3;
}

/// A device-side assertion that shows at the next synchronisation.
void fail_assertion() {
    const torch::Tensor ids =
        torch::full({1}, 1'000'000, torch::dtype(torch::kLong).device(torch::kCUDA));
    torch::embedding(torch::zeros({10, 4}, torch::kCUDA), ids);
}

void kill_soon() {
    std::thread([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(250));
        ::kill(::getpid(), SIGKILL);
    }).detach();
}

/// Starts ourselves as `hold` in a session of its own, and waits until that has its memory.
void leave_holder() {
    std::array<int, 2> ready{};
    if (::pipe(ready.data()) != 0) throw std::runtime_error("no pipe");
    if (::fork() == 0) {
        ::setsid();
        ::dup2(ready[1], 1);
        ::execl("/proc/self/exe", "faulty-worker", "--hold", nullptr);
        ::_exit(127);
    }
    ::close(ready[1]);
    char byte = 0;
    if (::read(ready[0], &byte, 1) != 1) throw std::runtime_error("nobody holds memory");
    ::close(ready[0]);
}

int hold() {
    const torch::Tensor memory =
        torch::empty({std::int64_t{8} << 30}, torch::dtype(torch::kUInt8).device(torch::kCUDA));
    if (::write(1, "x", 1) != 1) return 1;
    while (true) ::pause();
}

int serve() {
    ResultOutput replies;
    replies.write(protocol::hello_line(
        {{"pid", ::getpid()}, {"torch", TORCH_VERSION}, {"build", build_id()}}));
    for (std::string line; std::getline(std::cin, line);) {
        const protocol::Request request = protocol::parse_request(line);
        Cell cell = cell_from_json(request.cell);
        const std::string fault = to_text(cell.custom.at("fault"));
        cell.custom.clear();
        if (fault.starts_with("oom_")) limit_memory(cell, fault.substr(std::strlen("oom_")));
        if (fault == "leak") leave_holder();
        bool done = false;
        const CellResult result = run_cell(cell, [&](std::string_view phase) {
            replies.write(protocol::phase_line(request.nonce, phase));
            if (phase != "measure" || std::exchange(done, true)) return;
            if (fault == "assert") fail_assertion();
            if (fault == "kill") kill_soon();
        });
        replies.write(result.line(request.nonce));
        if (result.status == Status::crash) return 1;
    }
    return 0;
}

}  // namespace
}  // namespace isosweep

int main(int argc, char** argv) {
    const bool holds = argc > 1 && std::strcmp(argv[1], "--hold") == 0;
    const int code = holds ? isosweep::hold() : isosweep::serve();
    // As the real worker: libraries that end in disorder harm nobody.
    ::_exit(code);
}
