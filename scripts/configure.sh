#!/usr/bin/env bash
# Configures the preset (release or ci-release) into build/, but only where something is new: ninja
# notices changed CMake files by itself, and this the settings that come from outside.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=$1
setup="$(cat .deps/cuda-setup .deps/python/.isosweep 2>/dev/null | xargs || true)"
settings="preset=$preset setup=$setup CMAKE_PREFIX_PATH=${CMAKE_PREFIX_PATH:-} CXX=${CXX:-} CXXFLAGS=${CXXFLAGS:-}"
if [[ -e build/build.ninja && $(cat build/.settings 2>/dev/null) == "$settings" ]]; then exit; fi
rm -f build/.settings
cmake --preset "$preset"
echo "$settings" >build/.settings
