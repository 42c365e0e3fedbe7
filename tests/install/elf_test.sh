#!/usr/bin/env bash
# elf_test.sh READELF PROGRAM: the orchestrator must start where there is neither LibTorch nor CUDA,
# nor Boost, spdlog or fmt.
set -euo pipefail
needed=$("$1" -d "$2" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
echo "needs: ${needed//$'\n'/ }"
if grep -iE 'torch|c10|cuda|cudart|cublas|nvidia|nvml|boost_|spdlog|fmt' <<<"$needed"; then
    echo "$2 must not need these" >&2
    exit 1
fi
grep -q '^libc\.so' <<<"$needed"  # readelf was understood
