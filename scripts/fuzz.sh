#!/usr/bin/env bash
# Fuzzes what comes from outside (a worker's lines, a journal, a config) with clang's libFuzzer under
# the address and undefined-behaviour sanitizers.
#   scripts/fuzz.sh [SECONDS]    each for so long (default 600), one after another
# What it finds is kept in build/fuzz/findings, new inputs in build/fuzz/corpus. Exits 1 if it finds
# something. CXX names the clang (default clang++, else the newest clang++-N).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-600}
[[ $seconds =~ ^[0-9]+$ ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
clang=${CXX:-$(compgen -c | grep -xE 'clang\+\+(-[0-9]+)?' | sort -V | tail -n 1 || true)}
command -v "${clang:-clang++}" >/dev/null || { echo "fuzz.sh: no clang++: install Debian's clang and libclang-rt-dev" >&2; exit 2; }
cmake --preset fuzz -DCMAKE_CXX_COMPILER="$clang" >/dev/null
cmake --build --preset fuzz --target fuzz_protocol fuzz_journal fuzz_config
findings=build/fuzz/findings
mkdir -p $findings
"$clang" --version | head -n 1
status=0
for name in protocol journal config; do
    mkdir -p build/fuzz/corpus/$name
    echo "== $name, $seconds s"
    build/fuzz/bin/fuzz_$name -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=16384 \
        -artifact_prefix=$findings/$name- -print_final_stats=1 \
        build/fuzz/corpus/$name tests/fuzz/seeds/$name >build/fuzz/$name.log 2>&1 || status=1
    grep -E '^(Done|stat::number_of_executed_units|stat::peak_rss_mb)|ERROR|does not hold|SUMMARY' build/fuzz/$name.log || true
    grep -E ' cov: ' build/fuzz/$name.log | tail -n 1
done
exit $status
