#!/usr/bin/env python3
"""What the orchestrator costs: isosweep beside GNU parallel and `xargs -P`, all three with the same
worker that does nothing. `make bench` builds what it takes and runs it.

Each program runs CELLS workers in as many slots, in turns, ROUNDS times. parallel and xargs get a
number per worker on stdin and collect what the workers print in one file, without a sync. isosweep
has its journal with every outcome synced, its CSV and its log, as in any sweep.

Columns: cells a second (median and best of the rounds), CPU time of the program itself per cell
without its workers' (median; in the kernel and out of it), and the peak memory of its process."""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BIN = pathlib.Path(__file__).resolve().parent.parent / "build" / "bench" / "bin"
WORKER = str(BIN / "noop-worker")
ISOSWEEP = str(BIN / "isosweep")


def peak_mb(pid):
    """The peak of a process' memory; 0 when it is gone."""
    try:
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0


def measure(command, folder, numbers=None):
    """Runs a command to its end: its seconds, its own CPU seconds, and its peak memory in MB."""
    stdin = None
    if numbers is not None:
        source = folder / "numbers"
        source.write_text("".join(f"{number}\n" for number in numbers))
        stdin = open(source)
    begin = time.monotonic()
    with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
        process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err, cwd=folder)
        memory = 0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            memory = max(memory, peak_mb(process.pid))
            time.sleep(0.02)
    seconds = time.monotonic() - begin
    # Of a process that has ended and was not waited for, this is what it used without its children.
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    if process.wait() != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}: {(folder / 'err').read_text()[-500:]}")
    return seconds, cpu, memory


def write_config(folder, cells):
    (folder / "bench.cfg").write_text(
        f"model-size = tiny\nreplicates = {cells}\nwarmup-steps = 0\nmeasure-steps = 1\n"
        f"worker = {WORKER}\n")


def isosweep(slots, *more):
    return [ISOSWEEP, "run", "bench.cfg", "--device", "cpu", "--jobs", str(slots),
            "--output", "sweep.csv", *more]


def compare(cells, rounds, slot_counts):
    programs = {
        "parallel": lambda slots: (["parallel", "-j", str(slots), WORKER], True),
        "xargs": lambda slots: (["xargs", "-P", str(slots), "-n", "1", WORKER], True),
        "isosweep": lambda slots: (isosweep(slots), False),
        "isosweep, standby off": lambda slots: (isosweep(slots, "--standby", "off"), False),
    }
    print(f"{cells} cells, {rounds} rounds in turns")
    print(f"{'slots':>5}  {'program':<22} {'cells/s':>8} {'best':>8} {'CPU ms/cell':>12} {'MB':>6}")
    for slots in slot_counts:
        results = {name: [] for name in programs}
        for _ in range(rounds):
            for name, command_of in programs.items():
                if not shutil.which(name.split(",")[0]) and not name.startswith("isosweep"):
                    continue
                command, wants_numbers = command_of(slots)
                with tempfile.TemporaryDirectory(dir=".") as folder:
                    folder = pathlib.Path(folder).resolve()
                    write_config(folder, cells)
                    numbers = range(1, cells + 1) if wants_numbers else None
                    results[name].append(measure(command, folder, numbers))
        for name, runs in results.items():
            if not runs:
                continue
            rates = [cells / seconds for seconds, _, _ in runs]
            cpu = statistics.median(cpu for _, cpu, _ in runs) * 1e3 / cells
            print(f"{slots:>5}  {name:<22} {statistics.median(rates):>8.0f} {max(rates):>8.0f} "
                  f"{cpu:>12.2f} {max(memory for _, _, memory in runs):>6.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    for program, package in (("parallel", "parallel"), ("xargs", "findutils")):
        if not shutil.which(program):
            print(f"{program} is missing and left out: apt-get install {package}", file=sys.stderr)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, kernel {os.uname().release}")
    compare(options.cells, options.rounds, options.slots)


main()
