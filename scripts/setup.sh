#!/usr/bin/env bash
# Installs what building needs and is not there yet: Debian or Ubuntu packages (as root only), the
# source of the CSV parser and LibTorch into .deps/. With nothing missing it does nothing and needs
# no network. Whatever it downloads is renamed into place when whole, so after an interruption it is
# enough to run it again.
#
#   scripts/setup.sh [auto|on|off] [base|all] [tests]
#     on, off   LibTorch with CUDA, or for the CPU alone; remembered for later builds
#     auto      what was said last, else CUDA if there is a GPU or nvcc
#     base      everything but LibTorch (for the presets dev and asan)
#     tests     as well what some tests are skipped without: Chromium, which opens an HTML report,
#               Slurm, of which they start one of their own, OpenSSH and numactl
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
cuda=${1:-auto}
part=${2:-all}
tests=${3:-none}
deps=.deps
csv=fastpycsv-5.6.0
csv_sha256=4e1afb3c3006d24c3e9985edf1292e96e2b8f132fcbd61445ba993f5fcb4534f
cuda_headers=(nvidia-cuda-runtime==13.0.96 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85)
torch_cpu=(torch==2.11.0 nvidia-cuda-cupti==13.0.85 "${cuda_headers[@]}")
torch_cuda=("${torch_cpu[@]}" nvidia-cublas==13.1.0.3 nvidia-cuda-nvrtc==13.0.88
    nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61 nvidia-cufile==1.15.1.6
    nvidia-curand==10.4.0.35 nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3
    nvidia-cusparselt-cu13==0.8.0 nvidia-nccl-cu13==2.28.9 nvidia-nvjitlink==13.0.88
    nvidia-nvshmem-cu13==3.4.5)

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null; }

case $cuda in auto | on | off) ;; *) fail "CUDA=$cuda: expected auto, on or off" ;; esac
case $tests in tests | none) ;; *) fail "$tests: expected tests" ;; esac

# --- Debian or Ubuntu packages ---------------------------------------------------------------------

# pip may belong to another python3 than the first one in the PATH.
find_pip() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -m pip --version >/dev/null 2>&1; then
            python=$candidate
            return
        fi
    done
    return 1
}

cmake_fits() {
    local version
    version=$(cmake --version 2>/dev/null | sed -n 's/^cmake version //p')
    [[ -n $version && $(printf '%s\n' 3.25 "$version" | sort -V | head -n 1) == 3.25 ]]
}

install_packages() {
    local wanted=(libspdlog-dev libfmt-dev doctest-dev) missing=() package version=
    # Debian 12's plain Boost is 1.74; everything newer has at least 1.81 under the plain names.
    # shellcheck disable=SC1091
    if [[ $(. /etc/os-release && echo "$ID${VERSION_ID:-}") == debian12 ]]; then version=1.81; fi
    wanted+=("libboost$version-dev")
    for package in program-options json filesystem; do
        wanted+=("libboost-$package$version-dev")
    done
    for package in "${wanted[@]}"; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
    cmake_fits || missing+=(cmake)
    have ninja || missing+=(ninja-build)
    have g++ || missing+=(g++)
    have gnuplot || missing+=(gnuplot-nox)
    have python3 || missing+=(python3)
    if [[ $tests == tests ]]; then
        have chromium || have google-chrome || missing+=(chromium)
        have srun || missing+=(slurm-wlm)
        [[ -x /usr/sbin/munged ]] || missing+=(munge)
        [[ -x /usr/sbin/sshd ]] || missing+=(openssh-server)
        have ssh || missing+=(openssh-client)
        have numactl || missing+=(numactl)
    fi
    if needs_pip; then find_pip || missing+=(python3-pip); fi
    if [[ ${#missing[@]} == 0 ]]; then return; fi

    local install="apt-get install -y --no-install-recommends ${missing[*]}"
    if [[ $(id -u) != 0 ]]; then
        say "packages are missing; as root, run this line, then again what you ran:"
        echo "apt-get update && $install"
        exit 1
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    if ! compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || ! $install >"$log" 2>&1; then
        if ! { apt-get update && $install; } >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            fail "apt-get could not install ${missing[*]}"
        fi
    fi
    rm -f "$log"
    cmake_fits || fail "cmake $(cmake --version | head -n 1) is too old; 3.25 or newer is needed"
}

# --- the CSV parser --------------------------------------------------------------------------------

fetch_csv() {
    if [[ -e $deps/$csv/CMakeLists.txt ]]; then return; fi
    say "downloading the CSV parser ($csv)"
    rm -rf "$deps/csv.part"
    mkdir -p "$deps/csv.part"
    # The hash is checked by pip, before anything of the archive is used.
    echo "${csv/-/==} --hash=sha256:$csv_sha256" >"$deps/csv.part/requirements.txt"
    "$python" -m pip -q download --no-deps --no-binary "${csv%-*}" \
        --dest "$deps/csv.part" -r "$deps/csv.part/requirements.txt" ||
        fail "the CSV parser could not be downloaded"
    tar -xzf "$deps/csv.part/$csv.tar.gz" -C "$deps/csv.part" \
        "$csv"/{CMakeLists.txt,LICENSE,README.md,cmake,include}
    rm -rf "${deps:?}/$csv"
    mv "$deps/csv.part/$csv" "$deps/$csv"
    rm -rf "$deps/csv.part"
}

# --- LibTorch --------------------------------------------------------------------------------------

# Prints where a fitting LibTorch is already installed. cmake/Torch.cmake checks the same, closer.
find_installed_torch() {
    local dir root dirs=()
    IFS=: read -r -a dirs <<<"${CMAKE_PREFIX_PATH:-}"
    if have python3; then
        dirs+=("$(env -C / python3 -c 'import importlib.util as u
print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null || true)")
    fi
    for dir in "${dirs[@]}"; do
        if [[ -z $dir ]]; then continue; fi
        for root in "$dir" "$dir/torch"; do
            local version=$root/include/torch/headeronly/version.h
            if [[ -e $root/lib/libtorch_cpu.so && -e $version && ! -e $root/../nvidia/cuda_runtime &&
                ($asked != on || -e $root/lib/libtorch_cuda.so) ]] &&
                grep -q 'VERSION_MAJOR 2$' "$version" && grep -q 'VERSION_MINOR 11$' "$version"; then
                echo "$root"
                return
            fi
        done
    done
    return 1
}

# What stands in .deps/python: headers, cpu or cuda (each holds the one before), or nothing.
installed_level() { cat "$deps/python/.isosweep" 2>/dev/null || echo none; }

level_number() { case $1 in none) echo 0 ;; headers) echo 1 ;; cpu) echo 2 ;; cuda) echo 3 ;; esac }

# The level that .deps/python must have for the present settings.
needed_level() {
    if [[ $part == base ]]; then
        echo none
    elif installed_torch=$(find_installed_torch); then
        # A toolkit's or the wheels' own headers do as well.
        if [[ ! -e $installed_torch/include/c10/cuda/impl/cuda_cmake_macros.h ]]; then
            say "$installed_torch has no CUDA headers: the files that use CUDA are left out"
            echo none
        elif [[ -e $installed_torch/../nvidia/cu13/include/crt/host_defines.h &&
            -e $installed_torch/../nvidia/cu13/include/nv/target ]]; then
            echo none
        else
            echo headers
        fi
    elif [[ $cuda == on ]]; then
        echo cuda
    else
        echo cpu
    fi
}

needs_pip() { [[ ! -e $deps/$csv/CMakeLists.txt || $level_have -lt $level_need ]]; }

fetch_torch() {
    if [[ $level_have -ge $level_need ]]; then return; fi
    local packages
    case $needed in
    headers) packages=("${cuda_headers[@]}") && say "downloading CUDA's headers" ;;
    cpu) packages=("${torch_cpu[@]}") && say "downloading LibTorch for the CPU (1.2 GB)" ;;
    cuda) packages=("${torch_cuda[@]}") && say "downloading LibTorch with CUDA (3.6 GB)" ;;
    esac
    rm -rf "$deps/python.part"
    "$python" -m pip -q install --no-deps --no-compile \
        --no-warn-script-location --only-binary :all: --target "$deps/python.part" "${packages[@]}" ||
        fail "LibTorch could not be downloaded"
    echo "$needed" >"$deps/python.part/.isosweep"
    rm -rf "$deps/python"
    mv "$deps/python.part" "$deps/python"
}

mkdir -p "$deps"
asked=$cuda  # as opposed to: found fitting for this machine
if [[ $cuda != auto && $part == all && $(cat "$deps/cuda-setup" 2>/dev/null) != "$cuda" ]]; then
    echo "$cuda" >"$deps/cuda-setup"
fi
if [[ $asked == auto && -e $deps/cuda-setup ]]; then asked=$(<"$deps/cuda-setup"); fi
cuda=$asked
if [[ $cuda == auto ]]; then
    cuda=off
    if [[ -e /dev/nvidia0 || -x /usr/local/cuda/bin/nvcc ]] || have nvcc || have nvidia-smi; then cuda=on; fi
fi

level_have=$(level_number "$(installed_level)")
needed=$(needed_level)
level_need=$(level_number "$needed")

if have dpkg-query && have apt-get; then
    install_packages
else
    say "neither Debian nor Ubuntu: Boost >= 1.81, spdlog, doctest, gnuplot, cmake and ninja must be there already"
fi
if needs_pip; then
    find_pip || fail "python3 with pip is needed"
    fetch_csv
    fetch_torch
fi
