#!/usr/bin/env bash
# The kept runs of results/reference/GPU-NAME/: the original module's sweeps as their configs stand,
# one of them on a GPU that is made to look small, and what a process per cell costs.
#   scripts/reference_runs.sh sweeps
#   scripts/reference_runs.sh side-by-side [PEER.py]   with PEER.py, a Python sweep of the same grid
#   scripts/reference_runs.sh kernels [PEER.py]        reference and fused kernels, beside PEER.py's
#   scripts/reference_runs.sh compiled PEER.py         fused kernels in a graph beside PEER.py's
#                                                      torch.compile with CUDA graphs, cell by cell
#   scripts/reference_runs.sh compiled-sweep PEER.py   the same as whole sweeps
#   scripts/reference_runs.sh kernel-bench             kernels, matrix products and attention, each alone
#   scripts/reference_runs.sh gpu-tests                the tests that need a GPU
#   scripts/reference_runs.sh sanitizer                those of the kernels under compute-sanitizer
#   scripts/reference_runs.sh faults                   the tests with real faults of the GPU
#   scripts/reference_runs.sh full                     all sizes, contexts and passes, in bf16
#   scripts/reference_runs.sh standby [MODE...]        what workers that stand by save
#   scripts/reference_runs.sh canary                   what a canary costs
#   scripts/reference_runs.sh two-gpus [FLAG...]       a grid of three minutes (on one H200), on one
#                                                      GPU and on all
# ISOSWEEP names the program (default build/bin/isosweep).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
isosweep=${ISOSWEEP:-build/bin/isosweep}
part=${1:-}
peer=${2:-}
no_paths=--no-path-filenames=true  # what is kept names no folder of this machine
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
into=results/reference/${gpu// /-}
mkdir -p "$into"

sweep() {  # sweep NAME CONFIG [FLAG...]: one sweep, its table to the log
    local name=$1 config=$2
    shift 2
    echo "== isosweep run $config $*"
    "$isosweep" run "$config" --output "$into/$name.csv" "$@" 2>"$into/$name.stderr" || true
    tail -n 30 "$into/$name.stderr" | grep -E '^[0-9]+ cells' || cat "$into/$name.stderr"
    rm -f "$into/$name.stderr"
}
timed() {  # timed LABEL COMMAND...: its wall time as a line
    local label=$1 start=$EPOCHREALTIME
    shift
    "$@"
    awk -v label="$label" -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%s: %.1f s\n", label, b - a }'
}

warm_up() {  # warm_up [CONFIG [FLAG...]]: programs and libraries come from memory for all
    "$isosweep" run "${1:-configs/smoke.cfg}" --output "$into/warm.csv" "${@:2}" >/dev/null 2>&1 || true
    rm -rf "$into/warm" "$into/warm.csv"
}

side_by_side() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    warm_up
    local grid=(--sizes small medium large xl 2.7B --contexts 128 512 --modes forward forward_backward)
    if [[ $peer ]]; then
        python3 "$peer" direct --sizes tiny --contexts 32 >/dev/null 2>&1
        echo "== peer direct"
        timed "peer, one process" python3 "$peer" direct "${grid[@]}"
    fi
    timed "isosweep, shared" sweep isolation_grid_shared configs/isolation_grid.cfg --isolation shared
    timed "isosweep, isolated" sweep isolation_grid_process configs/isolation_grid.cfg
    if [[ $peer ]]; then
        echo "== peer isolated"
        timed "peer, a process per cell" python3 "$peer" isolated "${grid[@]}"
    fi
}

sweeps() {
    local name
    for name in run_benchmarks direct warmup_comparison large_models separate; do
        sweep "profiling_benchmarking_$name" configs/$name.cfg
    done
    sweep run_benchmarks_16GiB configs/run_benchmarks.cfg --gpu-memory-limit 16GiB
}

kernels() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    local precision
    for precision in fp32 bf16; do
        if [[ $peer ]]; then
            echo "== peer, eager, $precision"
            python3 "$peer" direct --sizes small large 2.7B --contexts 128 512 \
                --modes forward forward_backward train_step --precision "$precision"
        fi
    done
    sweep reference_kernels configs/reference_kernels.cfg --fresh
    sweep fused_kernels configs/fused_kernels.cfg --fresh
    "$isosweep" report "$into/reference_kernels.csv"
    "$isosweep" report "$into/fused_kernels.csv"
}

# apart COMMAND...: each command (one word, a function) on a GPU and with a share of the cores of its
# own where there are as many GPUs, else one after the other; what they print, in that order
apart() {
    local logs each=0 cores
    logs=$(mktemp -d)
    cores=$(($(nproc) / $#))
    local command
    for command in "$@"; do
        if [[ $(nvidia-smi --list-gpus | wc -l) -ge $# ]]; then
            CUDA_VISIBLE_DEVICES=$each taskset -c "$((each * cores))-$(((each + 1) * cores - 1))" \
                "${BASH:-bash}" "${BASH_SOURCE[0]}" "$command" "$peer" >"$logs/$each" 2>&1 &
        else
            "$command" >"$logs/$each" 2>&1
        fi
        each=$((each + 1))
    done
    wait
    for ((each = 0; each < $#; each++)); do cat "$logs/$each"; done
    rm -rf "$logs"
}

peer_cells() {  # peer_cells: reads cells from stdin
    local size context mode
    while read -r size context mode; do
        timed "$size $context $mode" python3 "$peer" cell --size "$size" --context "$context" --mode "$mode" \
            --precision bf16 --engine compile-graphs </dev/null
    done
}

peer_small_cells() {
    peer_cells <<'CELLS'
small 128 forward
small 128 forward_backward
small 512 forward_backward
small 512 train_step
2.7B 512 forward_backward
CELLS
}

peer_large_cells() {
    peer_cells <<'CELLS'
medium 512 forward_backward
xl 1024 train_step
CELLS
}

compiled() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    warm_up configs/fused_kernels.cfg
    echo "== isosweep, fused, bf16"
    sweep fused_kernels configs/fused_kernels.cfg --fresh --gpus 0
    "$isosweep" report "$into/fused_kernels.csv"
    echo "== first steps without a worker that stands by, from an empty cache of kernels"
    XDG_CACHE_HOME=$(mktemp -d) sweep fused_start configs/fused_kernels.cfg --fresh --gpus 0 --cuda-graph on \
        --standby off --passes none
    "$isosweep" report "$into/fused_start.csv" --view overhead
    echo "== peer, compile-graphs, bf16"
    apart peer_small_cells peer_large_cells
}

# Each from an empty cache of compiled kernels, as a user's first sweep has it.
peer_sweep() {  # peer_sweep direct|isolated
    timed "peer, $1, 4 cells" env TORCHINDUCTOR_CACHE_DIR="$(mktemp -d)" TRITON_CACHE_DIR="$(mktemp -d)" \
        python3 "$peer" "$1" --sizes small medium --contexts 512 --modes forward forward_backward \
        --precision bf16 --engine compile-graphs
}
peer_direct() { peer_sweep direct; }
peer_isolated() { peer_sweep isolated; }

compiled_sweep() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    local ours=(--precision bf16 --kernels fused --cuda-graph on --fresh --gpus 0)
    local small=(--model-sizes small medium --context-lengths 512)
    warm_up configs/isolation_grid.cfg "${ours[@]}"
    # From an empty cache of kernels, as the peer's below.
    export XDG_CACHE_HOME
    XDG_CACHE_HOME=$(mktemp -d)
    timed "isosweep, 4 cells" sweep fused_grid_small configs/isolation_grid.cfg "${ours[@]}" "${small[@]}"
    timed "isosweep, 20 cells" sweep fused_grid configs/isolation_grid.cfg "${ours[@]}"
    "$isosweep" report "$into/fused_grid.csv" --view overhead
    apart peer_direct peer_isolated
}

kernel_bench() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$(dirname "$isosweep")/kernel-bench"
}

gpu_tests() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    local bin tests
    bin=$(dirname "$isosweep")
    for tests in kernels variants gpu gpu_inspect gpu_fault; do
        echo "== worker_${tests}_test"
        # What runs on the host does so in every `make test`.
        ISOSWEEP_TEST_GPU_ALONE=1 "$bin/worker_${tests}_test" "$no_paths" 2>&1 |
            grep -v 'Assertion.*failed' || true
    done
    echo "== worker_variants_test without kernels of our own"
    ISOSWEEP_KERNELS=libtorch "$bin/worker_variants_test" "$no_paths" || true
}

sanitizer() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    local tool
    for tool in memcheck racecheck; do
        echo "== compute-sanitizer --tool $tool"
        ISOSWEEP_TEST_GPU_ALONE=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$(dirname "$isosweep")/worker_kernels_test" "$no_paths" \
            --test-case='rms*,swiglu*,cross*,rotate*,cast*,embed*,tensors*' || true
    done
}

faults() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    local bin
    bin=$(dirname "$isosweep")
    # What the device-side assertion prints, thread by thread, is of no interest.
    ISOSWEEP_FAULTY_WORKER=$(realpath "$bin/faulty-worker") "$bin/isosweep-tests" --test-suite="real GPU" "$no_paths" 2>&1 |
        grep -v 'Assertion.*failed'
}

full() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version
    timed "isosweep, isolated" sweep full_bf16 configs/full.cfg --precision bf16
    "$isosweep" report "$into/full_bf16.csv"
}

standby() {  # standby [MODE...]
    local modes=("$@") mode
    [[ $# -gt 0 ]] || modes=(off libraries context)
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version | head -1
    warm_up
    for mode in "${modes[@]}"; do
        timed "isosweep, isolated, standby = $mode" sweep "grid_standby_$mode" configs/isolation_grid.cfg \
            --gpus 0 --standby "$mode" --fresh
    done
    timed "isosweep, shared" sweep grid_shared configs/isolation_grid.cfg --gpus 0 --isolation shared --fresh
    # Steps that wait for the host differ from process to process: what a standby does to them shows
    # in several.
    for mode in "${modes[@]}"; do
        sweep "host_bound_standby_$mode" configs/isolation_grid.cfg --gpus 0 --standby "$mode" --fresh \
            --model-sizes small,medium --context-lengths 128 --replicates 5
    done
    for mode in "${modes[@]}"; do
        echo "== overhead, standby = $mode"
        "$isosweep" report "$into/grid_standby_$mode.csv" --view overhead
    done
    for mode in "${modes[@]}"; do
        [[ $mode != off ]] || continue
        echo "== standby = off against standby = $mode"
        "$isosweep" compare "$into/grid_standby_off.csv" "$into/grid_standby_$mode.csv" || true
        "$isosweep" compare "$into/host_bound_standby_off.csv" "$into/host_bound_standby_$mode.csv" || true
    done
}

canary() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    "$isosweep" --version | head -1
    timed "isosweep, bf16" sweep grid_bf16 configs/isolation_grid.cfg --precision bf16
    timed "isosweep, bf16, shuffled with a canary" sweep grid_bf16_canary configs/isolation_grid.cfg --precision bf16 \
        --order shuffle --canary on
    "$isosweep" report "$into/grid_bf16_canary.csv" --view checks
}

two_gpus() {  # two_gpus [FLAG...]
    nvidia-smi --query-gpu=name,driver_version,pci.bus_id --format=csv,noheader
    nvidia-smi topo -m || true
    "$isosweep" --version | head -1
    warm_up
    local grid=(--context-lengths 512 1024 --measure-steps 12 --fresh "$@")
    timed "isosweep, one GPU" sweep gpus_one configs/isolation_grid.cfg "${grid[@]}" --gpus 0
    timed "isosweep, all GPUs" sweep gpus_all configs/isolation_grid.cfg "${grid[@]}"
    echo "== one GPU against all"
    "$isosweep" compare "$into/gpus_one.csv" "$into/gpus_all.csv" || true
    "$isosweep" report "$into/gpus_all.csv" --view overhead
}

case $part in
two-gpus) two_gpus "${@:2}" 2>&1 | tee "$into/two_gpus.txt" ;;
kernel-bench) kernel_bench 2>&1 | tee "$into/kernel_bench.txt" ;;
gpu-tests) gpu_tests 2>&1 | tee "$into/gpu_tests.txt" ;;
sanitizer) sanitizer 2>&1 | tee "$into/sanitizer.txt" ;;
compiled) compiled 2>&1 | tee "$into/compiled.txt" ;;
peer_small_cells | peer_large_cells | peer_direct | peer_isolated) "$part"; exit ;;  # of `apart`
compiled-sweep) compiled_sweep 2>&1 | tee "$into/compiled_sweep.txt" ;;
standby) standby "${@:2}" 2>&1 | tee "$into/standby.txt" ;;
canary) canary 2>&1 | tee "$into/canary.txt" ;;
faults) faults 2>&1 | tee "$into/gpu_faults.txt" ;;
full) full 2>&1 | tee "$into/full_bf16.txt" ;;
sweeps) sweeps 2>&1 | tee "$into/sweeps.txt" ;;
kernels) kernels 2>&1 | tee "$into/kernels.txt" ;;
side-by-side) side_by_side 2>&1 | tee "$into/side_by_side.txt" ;;
*) sed -n '2,20s/^# //p' "$0" >&2 && exit 2 ;;
esac
# What is kept: CSV and journal. Locks, logs and scripts name this machine's folders.
find "$into" -mindepth 1 -maxdepth 2 \( -name lock -o -name logs -o -name cells \) -exec rm -rf {} +
