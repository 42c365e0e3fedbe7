#include "compiler.h"

#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include "sources.h"

namespace isosweep::kernels {
namespace {

constexpr const char* library_name = "libnvrtc.so.13";

/// Beside CUDA's runtime library, which is loaded already; else where the dynamic linker looks.
void* open_library() {
    Dl_info runtime{};
    if (void* const symbol = ::dlsym(RTLD_DEFAULT, "cudaRuntimeGetVersion");
        symbol && ::dladdr(symbol, &runtime) != 0 && runtime.dli_fname) {
        const auto beside = std::filesystem::path(runtime.dli_fname).parent_path() / library_name;
        if (void* const library = ::dlopen(beside.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    }
    return ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
}

}  // namespace

/// The functions that are used of nvrtc.h, which is not in every setup that compiles this file.
struct Compiler::Library {
    using Program = void*;
    using Result = int;  // 0: success
    using GetSize = Result (*)(Program, std::size_t*);
    using GetText = Result (*)(Program, char*);

    void* handle = nullptr;
    Result (*version)(int*, int*) = nullptr;
    const char* (*error_text)(Result) = nullptr;
    Result (*create)(Program*, const char*, const char*, int, const char* const*,
                     const char* const*) = nullptr;
    Result (*destroy)(Program*) = nullptr;
    Result (*compile)(Program, int, const char* const*) = nullptr;
    GetSize log_size = nullptr;
    GetText log = nullptr;
    GetSize cubin_size = nullptr;
    GetText cubin = nullptr;

    ~Library() { ::dlclose(handle); }

    template <typename Function>
    void find(Function& function, const char* name) const {
        function = reinterpret_cast<Function>(::dlsym(handle, name));
        if (!function) throw Unavailable(std::string(library_name) + " has no " + name);
    }

    void check(Result result, const char* what) const {
        if (result != 0) throw Unavailable(std::string(what) + ": " + error_text(result));
    }

    /// A text whose size one function says and which another one writes.
    std::string read(Program program, GetSize size, GetText text) const {
        std::size_t bytes = 0;
        check(size(program, &bytes), "NVRTC's output");
        std::string content(bytes, '\0');
        check(text(program, content.data()), "NVRTC's output");
        return content;
    }
};

Compiler::Compiler() {
    auto library = std::make_unique<Library>();
    library->handle = open_library();
    if (!library->handle) throw Unavailable(std::string(library_name) + " is not found");
    library->find(library->version, "nvrtcVersion");
    library->find(library->error_text, "nvrtcGetErrorString");
    library->find(library->create, "nvrtcCreateProgram");
    library->find(library->destroy, "nvrtcDestroyProgram");
    library->find(library->compile, "nvrtcCompileProgram");
    library->find(library->log_size, "nvrtcGetProgramLogSize");
    library->find(library->log, "nvrtcGetProgramLog");
    library->find(library->cubin_size, "nvrtcGetCUBINSize");
    library->find(library->cubin, "nvrtcGetCUBIN");
    library_ = std::move(library);
}

Compiler::~Compiler() = default;
Compiler::Compiler(Compiler&&) noexcept = default;

std::string Compiler::version() const {
    int major = 0;
    int minor = 0;
    library_->check(library_->version(&major, &minor), "NVRTC's version");
    return std::to_string(major) + "." + std::to_string(minor);
}

std::vector<std::string> Compiler::options(Variant variant, int compute_capability) {
    return {"--gpu-architecture=sm_" + std::to_string(compute_capability), "--std=c++17",
            "--split-compile=0",  // kernels side by side, on all cores
            std::string("--define-macro=NUMBER=") + (variant.is_bf16 ? "bf16" : "float"),
            std::string("--define-macro=WIDE=") + (variant.is_wide ? "1" : "0")};
}

std::string Compiler::compile(Variant variant, int compute_capability) const {
    const Source& first = sources().front();
    std::vector<const char*> names;
    std::vector<const char*> texts;
    for (const Source& source : sources().subspan(1)) {
        names.push_back(source.name);
        texts.push_back(source.text);
    }
    Library::Program program = nullptr;
    library_->check(library_->create(&program, first.text, first.name,
                                     static_cast<int>(names.size()), texts.data(), names.data()),
                    "kernels are not compiled");
    const std::unique_ptr<Library::Program, Library::Result (*)(Library::Program*)> owner(
        &program, library_->destroy);
    const std::vector<std::string> arguments = options(variant, compute_capability);
    std::vector<const char*> pointers;
    for (const std::string& argument : arguments) pointers.push_back(argument.c_str());
    const int result =
        library_->compile(program, static_cast<int>(pointers.size()), pointers.data());
    if (result != 0) {
        const std::string log = library_->read(program, library_->log_size, library_->log);
        const std::string line = log.substr(0, log.find('\n'));
        throw Unavailable(std::string("kernels do not compile: ") +
                          (line.size() > 1 ? line : library_->error_text(result)));
    }
    return library_->read(program, library_->cubin_size, library_->cubin);
}

}  // namespace isosweep::kernels
