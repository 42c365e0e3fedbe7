#!/usr/bin/env bash
# install_test.sh CMAKE BUILD_DIR EXAMPLES WORK_DIR: installs into a fresh prefix, builds the example
# program against the installed package and runs both on the CPU.
set -euo pipefail
cmake=$1 build=$2 examples=$3 work=$4
prefix=$work/prefix
moved=$prefix.moved
rm -rf "$prefix" "$moved" "$work/example"
"$cmake" --install "$build" --prefix "$prefix" >"$work/install.log"
# From another place: nothing may lead back into the tree that was built.
mv "$prefix" "$moved"
trap 'rm -rf "$moved" "$work/example"' EXIT
prefix=$moved

"$prefix/bin/isosweep" --help >/dev/null
"$prefix/bin/isosweep" completion bash | cmp - "$prefix/share/bash-completion/completions/isosweep"
"$prefix/bin/isosweep" completion zsh | cmp - "$prefix/share/zsh/site-functions/_isosweep"
"$prefix/bin/isosweep-worker" --help >/dev/null
"$cmake" -S "$examples" -B "$work/example" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    "-DCMAKE_PREFIX_PATH=$prefix${CMAKE_PREFIX_PATH:+;${CMAKE_PREFIX_PATH//:/;}}" \
    -DCMAKE_RUNTIME_OUTPUT_DIRECTORY="$work/example/bin"
"$cmake" --build "$work/example"
for program in "$work/example/bin/"*; do
    echo "== $(basename "$program")"
    CUDA_VISIBLE_DEVICES='' "$program"
done
