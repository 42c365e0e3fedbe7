// A fault of the GPU is lasting, so this one case has a program of its own.

#include <doctest/doctest.h>
#include <isosweep/benchmark.h>

#include <exception>
#include <string>

#include "device.h"
#include "errors.h"

namespace isosweep {
namespace {

/// What a forward pass with a token that is not in the vocabulary throws.
std::exception_ptr failed_assertion_on_the_gpu() {
    try {
        Transformer model = create_model(*find_model_config("tiny"), 8, torch::kCUDA);
        const torch::Tensor ids =
            torch::full({1, 8}, 1'000'000, torch::dtype(torch::kLong).device(torch::kCUDA));
        model->forward(ids);
        cuda::synchronize();
    } catch (...) {
        return std::current_exception();
    }
    return nullptr;
}

TEST_CASE("a failed assertion on the GPU is a crash, and stays one") {
    if (!cuda::is_usable()) {
        MESSAGE("skipped: no CUDA device");
        return;
    }
    cuda::initialize();
    const std::exception_ptr exception = failed_assertion_on_the_gpu();
    REQUIRE(exception != nullptr);
    const Failure failure = describe_failure(exception, "measure", /*on_cuda=*/true);
    CHECK(failure.status == Status::crash);
    CHECK(failure.error.at("phase") == "measure");
    CHECK(failure.error.at("cuda_error") == 710);
    CHECK(is_sticky_cuda_error(cuda::pending_error()));
}

}  // namespace
}  // namespace isosweep
