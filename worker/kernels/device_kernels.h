#pragma once

#include <c10/core/Device.h>

#include <string>

#include "launcher.h"

/// The kernels on a GPU. device_kernels_cuda.cpp loads them where CUDA is linked;
/// device_kernels_cpu.cpp stands for it elsewhere.
namespace isosweep::kernels {

/// How loading went so far.
struct Loaded {
    std::string origin;   ///< "cache" (of the disk) or "nvrtc" (compiled now, all or some); or ""
    double ms = 0;        ///< compiling included
    std::string note;     ///< what went wrong, one line, or ""
    bool failed = false;  ///< what was wanted last is not there: nothing is launched any more
};

/// The launcher of a GPU; it lives as long as the program.
Launcher& launcher(c10::Device gpu);

Loaded loaded(c10::Device gpu);

}  // namespace isosweep::kernels
