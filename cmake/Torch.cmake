# LibTorch 2.11 as the imported target `isosweep_torch`. LibTorch's own find_package(Torch) needs a
# CUDA toolkit even where only the libraries are used; this needs none. It is installed with the
# package too, where isosweepConfig.cmake includes it.
#
# Looked for in CMAKE_PREFIX_PATH, in the torch that python3 would import, and in ISOSWEEP_TORCH_HINTS
# (what `make setup` installed). Sets:
#   ISOSWEEP_WITH_CUDA        ON if the target links CUDA
#   ISOSWEEP_HAS_CUDA_HEADERS ON if files that use CUDA can be compiled, linked with CUDA or not
#   ISOSWEEP_TORCH_DIR        the folder that holds include/ and lib/
set(ISOSWEEP_CUDA auto CACHE STRING "Link CUDA: auto (if all its libraries are there), on, off")
if(NOT DEFINED ISOSWEEP_TORCH_HINTS)
    set(ISOSWEEP_TORCH_HINTS ${CMAKE_CURRENT_LIST_DIR}/../.deps/python)
endif()

# The folder DIR or DIR/torch that holds a LibTorch, into RESULT; why it does not fit, into PROBLEM.
function(isosweep_check_torch DIR RESULT PROBLEM)
    set(${RESULT} "" PARENT_SCOPE)
    set(${PROBLEM} "" PARENT_SCOPE)
    foreach(root IN ITEMS ${DIR} ${DIR}/torch)
        if(NOT EXISTS ${root}/include/torch/csrc/api/include/torch/version.h
           OR NOT EXISTS ${root}/lib/libtorch_cpu.so)
            continue()
        endif()
        get_filename_component(root ${root} REALPATH)
        # Since 2.9 the numbers stand in headeronly/version.h; older ones are refused by either.
        set(version "of an unknown version")
        foreach(header IN ITEMS headeronly/version.h csrc/api/include/torch/version.h)
            if(EXISTS ${root}/include/torch/${header})
                file(STRINGS ${root}/include/torch/${header} lines REGEX "define TORCH_VERSION_M")
                if(lines MATCHES "_MAJOR ([0-9]+).*_MINOR ([0-9]+)")
                    set(version ${CMAKE_MATCH_1}.${CMAKE_MATCH_2})
                    break()
                endif()
            endif()
        endforeach()
        if(NOT version STREQUAL "2.11")
            set(${PROBLEM} "${root} is LibTorch ${version}, needed is 2.11" PARENT_SCOPE)
            return()
        endif()
        file(STRINGS ${root}/lib/libc10.so abi REGEX "__cxx11" LIMIT_COUNT 1)
        if(NOT abi)
            set(${PROBLEM} "${root} is built with the old std::string (pre-C++11 ABI)" PARENT_SCOPE)
            return()
        endif()
        file(GLOB cuda12 ${root}/../nvidia/cuda_runtime/lib/libcudart.so.12)
        if(cuda12)
            set(${PROBLEM} "${root} is built for CUDA 12, needed is CUDA 13 or a CPU one" PARENT_SCOPE)
            return()
        endif()
        if(isosweep_cuda_required AND NOT EXISTS ${root}/lib/libtorch_cuda.so)
            set(${PROBLEM} "${root} is a LibTorch for the CPU alone, wanted is CUDA" PARENT_SCOPE)
            return()
        endif()
        set(${RESULT} ${root} PARENT_SCOPE)
        return()
    endforeach()
endfunction()

function(isosweep_find_torch RESULT)
    # Outside of the current folder, where a folder `torch` could be taken for the package.
    execute_process(
        COMMAND python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
        WORKING_DIRECTORY / OUTPUT_VARIABLE from_python OUTPUT_STRIP_TRAILING_WHITESPACE
        ERROR_QUIET RESULT_VARIABLE failed)
    if(failed)
        set(from_python "")
    endif()
    set(prefixes ${CMAKE_PREFIX_PATH})
    if(DEFINED ENV{CMAKE_PREFIX_PATH})
        string(REPLACE ":" ";" from_environment "$ENV{CMAKE_PREFIX_PATH}")
        list(APPEND prefixes ${from_environment})
    endif()
    set(problems "")
    foreach(dir IN LISTS prefixes from_python ISOSWEEP_TORCH_HINTS)
        isosweep_check_torch(${dir} found problem)
        if(found)
            foreach(line IN LISTS problems)
                message(STATUS "Passed over: ${line}")
            endforeach()
            set(${RESULT} ${found} PARENT_SCOPE)
            return()
        elseif(problem)
            list(APPEND problems ${problem})
        endif()
    endforeach()
    list(JOIN problems "\n  " problems)
    message(FATAL_ERROR "No LibTorch 2.11 found. Run `make setup`, or name one in CMAKE_PREFIX_PATH.\n  ${problems}")
endfunction()

# What was asked for: here, else by `make setup CUDA=...`.
set(isosweep_cuda_wanted ${ISOSWEEP_CUDA})
if(isosweep_cuda_wanted STREQUAL "auto" AND EXISTS ${CMAKE_CURRENT_LIST_DIR}/../.deps/cuda-setup)
    file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/../.deps/cuda-setup isosweep_cuda_wanted)
endif()
if(isosweep_cuda_wanted STREQUAL "auto")
    set(isosweep_cuda_required OFF)
elseif(isosweep_cuda_wanted)
    set(isosweep_cuda_required ON)
else()
    set(isosweep_cuda_required OFF)
    set(isosweep_cuda_wanted off)
endif()

isosweep_find_torch(ISOSWEEP_TORCH_DIR)
# The wheels of CUDA's libraries stand beside torch/; headers alone may also stand in our own folder.
file(GLOB isosweep_cuda_lib_dirs ${ISOSWEEP_TORCH_DIR}/../nvidia/*/lib)

# CUDA's headers: those of the wheels, else those of a toolkit.
set(ISOSWEEP_HAS_CUDA_HEADERS OFF)
set(isosweep_cuda_includes "")
if(EXISTS ${ISOSWEEP_TORCH_DIR}/include/c10/cuda/impl/cuda_cmake_macros.h)
    foreach(dir IN ITEMS ${ISOSWEEP_TORCH_DIR}/.. ${ISOSWEEP_TORCH_HINTS})
        set(dir ${dir}/nvidia/cu13/include)
        if(EXISTS ${dir}/cuda_runtime_api.h AND EXISTS ${dir}/crt/host_defines.h
           AND (EXISTS ${dir}/nv/target OR EXISTS ${dir}/cccl/nv/target))
            get_filename_component(dir ${dir} REALPATH)
            set(isosweep_cuda_includes ${dir})
            break()
        endif()
    endforeach()
    if(NOT isosweep_cuda_includes)
        find_package(CUDAToolkit 13 QUIET)
        if(CUDAToolkit_FOUND)
            set(isosweep_cuda_includes ${CUDAToolkit_INCLUDE_DIRS})
        endif()
    endif()
    foreach(dir IN LISTS isosweep_cuda_includes)
        if(EXISTS ${dir}/cccl)
            list(APPEND isosweep_cuda_includes ${dir}/cccl)
        endif()
    endforeach()
    if(isosweep_cuda_includes)
        set(ISOSWEEP_HAS_CUDA_HEADERS ON)
    endif()
endif()

# CUDA's libraries: all that libtorch_cuda.so names must be there, else a program with it cannot start.
set(isosweep_cuda_problem "")
if(isosweep_cuda_wanted STREQUAL "off")
    set(isosweep_cuda_problem "not wanted")
elseif(NOT EXISTS ${ISOSWEEP_TORCH_DIR}/lib/libtorch_cuda.so)
    set(isosweep_cuda_problem "this LibTorch has none")
elseif(NOT ISOSWEEP_HAS_CUDA_HEADERS)
    set(isosweep_cuda_problem "CUDA's headers are missing")
else()
    file(GLOB isosweep_libraries ${ISOSWEEP_TORCH_DIR}/lib/libtorch_cuda.so ${ISOSWEEP_TORCH_DIR}/lib/libtorch_nvshmem.so)
    execute_process(COMMAND ${CMAKE_READELF} -d ${isosweep_libraries}
        OUTPUT_VARIABLE isosweep_needed COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "lib(cu|nccl|nvshmem)[A-Za-z0-9_]*\\.so[.0-9]*" isosweep_needed "${isosweep_needed}")
    list(REMOVE_DUPLICATES isosweep_needed)
    foreach(name IN LISTS isosweep_needed)
        find_file(isosweep_library ${name} NO_CACHE
            PATHS ${isosweep_cuda_lib_dirs} ${ISOSWEEP_TORCH_DIR}/lib /usr/local/cuda/lib64
                  /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} NO_DEFAULT_PATH)
        if(name MATCHES "^libcudart")
            set(isosweep_cudart ${isosweep_library})
        endif()
        if(NOT isosweep_library)
            string(APPEND isosweep_cuda_problem "${name} ")
        endif()
        unset(isosweep_library)
    endforeach()
    if(isosweep_cuda_problem)
        string(APPEND isosweep_cuda_problem "missing")
    endif()
endif()
if(isosweep_cuda_problem AND isosweep_cuda_required)
    message(FATAL_ERROR "CUDA cannot be linked: ${isosweep_cuda_problem}. Run `make setup CUDA=on`.")
endif()

add_library(isosweep_torch INTERFACE IMPORTED)
target_include_directories(isosweep_torch INTERFACE
    ${ISOSWEEP_TORCH_DIR}/include ${ISOSWEEP_TORCH_DIR}/include/torch/csrc/api/include ${isosweep_cuda_includes})
target_compile_definitions(isosweep_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_compile_features(isosweep_torch INTERFACE cxx_std_17)
# CMake gives programs the path of torch/lib. As a RUNPATH, so that LD_LIBRARY_PATH, which on another
# machine names its torch/lib, comes first.
target_link_options(isosweep_torch INTERFACE -Wl,--enable-new-dtags)
foreach(dir IN LISTS isosweep_cuda_lib_dirs)
    get_filename_component(dir ${dir} REALPATH)
    target_link_options(isosweep_torch INTERFACE -Wl,-rpath-link,${dir})
endforeach()
target_link_libraries(isosweep_torch INTERFACE
    ${ISOSWEEP_TORCH_DIR}/lib/libtorch_cpu.so ${ISOSWEEP_TORCH_DIR}/lib/libc10.so)

if(isosweep_cuda_problem)
    set(ISOSWEEP_WITH_CUDA OFF)
    message(STATUS "LibTorch: ${ISOSWEEP_TORCH_DIR}, without CUDA (${isosweep_cuda_problem})")
else()
    set(ISOSWEEP_WITH_CUDA ON)
    message(STATUS "LibTorch: ${ISOSWEEP_TORCH_DIR}, with CUDA")
    # Our code calls the CUDA runtime, but must not name libcudart itself: LibTorch's libraries find it
    # beside themselves wherever they stand, a program of ours would find it on this machine only. So it
    # links against a library of empty functions that bears the name of LibTorch's libtorch.so.
    set(isosweep_stub ${CMAKE_BINARY_DIR}/CMakeFiles/isosweep_cudart)
    execute_process(COMMAND ${CMAKE_NM} -D --defined-only ${isosweep_cudart}
        OUTPUT_VARIABLE isosweep_symbols COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL " T cuda[A-Za-z0-9_]+" isosweep_symbols "${isosweep_symbols}")
    set(isosweep_assembly ".text\n")
    foreach(symbol IN LISTS isosweep_symbols)
        string(SUBSTRING ${symbol} 3 -1 symbol)
        string(APPEND isosweep_assembly ".globl ${symbol}\n.type ${symbol},@function\n${symbol}:\n")
    endforeach()
    string(APPEND isosweep_assembly "nop\n.section .note.GNU-stack,\"\",@progbits\n")
    file(WRITE ${isosweep_stub}.s "${isosweep_assembly}")
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} -shared -nostdlib -Wl,-soname,libtorch.so
        -o ${isosweep_stub}.so ${isosweep_stub}.s COMMAND_ERROR_IS_FATAL ANY)
    # Nothing refers to libtorch_cuda.so by a symbol; loading it is what registers CUDA.
    set(isosweep_cuda_libs ${ISOSWEEP_TORCH_DIR}/lib/libtorch_cuda.so ${ISOSWEEP_TORCH_DIR}/lib/libc10_cuda.so
                           ${isosweep_stub}.so)
    list(JOIN isosweep_cuda_libs "," isosweep_cuda_libs)
    target_link_libraries(isosweep_torch INTERFACE
        "-Wl,--push-state,--no-as-needed,${isosweep_cuda_libs},--pop-state")
endif()
