# The front door; cmake and its presets do the work. `make help` lists what there is.
CONFIG ?= configs/smoke.cfg
CUDA ?= auto
# In CI warnings are errors. Both presets build into build/.
PRESET := $(if $(filter true,$(CI)),ci-release,release)
# A unit that includes LibTorch takes 1.4 GB to compile.
JOBS ?= $(shell awk -v cores="$$(nproc)" '/^MemAvailable/ { n = int($$2 / 1500000); \
	print n < 1 ? 1 : n < cores ? n : cores }' /proc/meminfo)

.PHONY: sweep test bench bench-kernels build setup format tidy clean help

sweep: build  ## build, run CONFIG (configs/smoke.cfg), write results/NAME.csv
	build/bin/isosweep run $(CONFIG)

test: build  ## build and run every test that this machine can run
	ctest --preset $(PRESET)

bench:  ## measure what the orchestrator costs, beside GNU parallel and xargs
	@cmake --preset bench > /dev/null
	@cmake --build build/bench --parallel $(JOBS) --target isosweep noop-worker
	@scripts/bench.py

bench-kernels: build  ## measure the fused kernels, matrix products and attention on a GPU
	@build/bin/kernel-bench

build: setup  ## build/bin/isosweep and build/bin/isosweep-worker
	@scripts/configure.sh $(PRESET)
	@cmake --build build --parallel $(JOBS)

setup:  ## install what is missing; CUDA=on|off chooses the LibTorch
	@scripts/setup.sh $(CUDA)

format:  ## format all C++ files
	@scripts/lint.sh format --all

tidy:  ## check format and clang-tidy of the files changed since the last commit; SINCE=REVISION
	@scripts/lint.sh check $(or $(SINCE),HEAD)

clean:  ## remove what was built, all presets'
	rm -rf build

help:
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 16
