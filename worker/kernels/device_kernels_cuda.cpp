#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache.h"
#include "compiler.h"
#include "device_kernels.h"
#include "sources.h"

namespace isosweep::kernels {
namespace {

void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());
    throw Unavailable(std::string(what) + ": " + cudaGetErrorString(error));
}

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device));
    return value;
}

/// The kernels of a variant by their names.
using Kernels = std::unordered_map<std::string_view, cudaKernel_t>;

/// Loads machine code, whole: a kernel that were loaded at its first launch would disturb the
/// capture of a graph.
Kernels load(const std::string& cubin) {
    cudaLibrary_t library = nullptr;
    check(cudaLibraryLoadData(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
          "kernels are not loaded");
    unsigned int count = 0;
    check(cudaLibraryGetKernelCount(&count, library), "kernels are not counted");
    std::vector<cudaKernel_t> all(count);
    check(cudaLibraryEnumerateKernels(all.data(), count, library), "kernels are not listed");
    Kernels kernels;
    for (const cudaKernel_t kernel : all) {
        const char* name = nullptr;
        check(cudaFuncGetName(&name, kernel), "a kernel has no name");
        cudaFuncAttributes attributes;
        check(cudaFuncGetAttributes(&attributes, kernel), "a kernel is not loaded");
        kernels.emplace(name, kernel);
    }
    return kernels;
}

class Gpu : public Launcher {
  public:
    explicit Gpu(c10::DeviceIndex device)
        : device_(device),
          multiprocessors_(attribute(cudaDevAttrMultiProcessorCount, device)),
          compute_capability_(10 * attribute(cudaDevAttrComputeCapabilityMajor, device) +
                              attribute(cudaDevAttrComputeCapabilityMinor, device)) {}

    bool has(Variant variant) override {
        const std::lock_guard lock(mutex_);
        if (loaded_.failed) return false;
        if (kernels_.contains(variant)) return true;
        const auto start = std::chrono::steady_clock::now();
        try {
            const c10::cuda::CUDAGuard guard(device_);
            // What is loaded may take memory, which a capture on this thread would not allow.
            const c10::cuda::CUDAStreamCaptureModeGuard relaxed(cudaStreamCaptureModeRelaxed);
            kernels_.emplace(variant, load_cached(variant));
        } catch (const Unavailable& problem) {
            loaded_.failed = true;
            loaded_.note = problem.what();
        }
        loaded_.ms +=
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                .count();
        return !loaded_.failed;
    }

    bool is_loaded(Variant variant) const override {
        const std::lock_guard lock(mutex_);
        return kernels_.contains(variant);
    }

    void launch(const Launch& launch, void** arguments) override {
        const c10::cuda::CUDAGuard guard(device_);
        C10_CUDA_CHECK(cudaLaunchKernel(
            find(launch),
            dim3(static_cast<unsigned>(launch.blocks), static_cast<unsigned>(launch.blocks_y)),
            dim3(static_cast<unsigned>(launch.threads)), arguments, /*sharedMem=*/0,
            c10::cuda::getCurrentCUDAStream().stream()));
    }

    int multiprocessors() const override { return multiprocessors_; }

    Loaded loaded() const {
        const std::lock_guard lock(mutex_);
        return loaded_;
    }

  private:
    cudaKernel_t find(const Launch& launch) const {
        const std::lock_guard lock(mutex_);
        return kernels_.at(launch.variant).at(launch.kernel);
    }

    /// From the disk if it has what the sources, options, GPU, compiler and driver at hand make;
    /// else compiled and written there.
    Kernels load_cached(Variant variant) {
        if (!compiler_) compiler_.emplace();
        int driver = 0;
        check(cudaDriverGetVersion(&driver), "the driver's version");
        std::vector<std::string> parts = Compiler::options(variant, compute_capability_);
        parts.push_back(compiler_->version());
        parts.push_back(std::to_string(driver));
        for (const Source& source : sources()) {
            parts.emplace_back(source.name);
            parts.emplace_back(source.text);
        }
        const std::filesystem::path folder = cache_folder();
        const std::filesystem::path file = folder / cache_name(parts);
        if (const auto cubin = folder.empty() ? std::nullopt : read_cached(file)) {
            Kernels kernels = load(*cubin);
            if (loaded_.origin.empty()) loaded_.origin = "cache";
            return kernels;
        }
        const std::string cubin = compiler_->compile(variant, compute_capability_);
        Kernels kernels = load(cubin);
        loaded_.origin = "nvrtc";
        loaded_.note = folder.empty()
                           ? "kernels are not kept: neither XDG_CACHE_HOME nor HOME is set"
                           : write_cached(file, cubin);
        return kernels;
    }

    c10::DeviceIndex device_;
    int multiprocessors_;
    int compute_capability_;
    mutable std::mutex mutex_;  // backward runs on a thread of its own
    std::optional<Compiler> compiler_;
    std::map<Variant, Kernels> kernels_;
    Loaded loaded_;
};

/// Never destroyed: CUDA may be gone by the time that static objects are.
Gpu& gpu(c10::Device device) {
    static std::mutex mutex;
    static auto& all = *new std::map<c10::DeviceIndex, Gpu>;
    const std::lock_guard lock(mutex);
    const c10::DeviceIndex index =
        device.has_index() ? device.index() : c10::cuda::current_device();
    return all.try_emplace(index, index).first->second;
}

}  // namespace

Launcher& launcher(c10::Device device) { return gpu(device); }
Loaded loaded(c10::Device device) { return gpu(device).loaded(); }

}  // namespace isosweep::kernels
