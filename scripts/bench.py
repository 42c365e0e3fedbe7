#!/usr/bin/env python3
"""What the orchestrator costs: isosweep beside GNU parallel and `xargs -P`, all three with the same
worker that does nothing. `make bench` builds what it takes and runs it.

Each program runs CELLS workers in as many slots, in turns, ROUNDS times. parallel and xargs get a
number per worker on stdin and collect what the workers print in one file, without a sync. isosweep
has its journal with every outcome synced, its CSV and its log, as in any sweep.

Columns: cells a second (median and best of the rounds), CPU time of the program itself per cell
without its workers' (median; in the kernel and out of it), and the peak memory of its process.

Then a sweep of many cells whose journal has all outcomes but the last 20, as a killed run leaves it:
how long it takes to plan it, to go on (until the first of the 20 starts) and to go through a sweep
that has nothing left to run (journal, checks, CSV), with the peak memory of each. Its records are
those of one cell that was run, with the keys of the plan.

Last, what isosweep takes while a worker does something else, with stderr a file and a terminal:
CPU time by the scheduler's clock, and how often it ran."""

import argparse
import json
import os
import pathlib
import pty
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


def many_cells(cells):
    """Plans a sweep, goes on with it, and makes its CSV."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        folder = pathlib.Path(folder).resolve()
        write_config(folder, 1)
        measure(isosweep(1), folder)
        first = [json.loads(line) for line in (folder / "sweep/journal.jsonl").open()]
        write_config(folder, cells)
        (folder / "sweep.csv").unlink()
        (folder / "sweep/journal.jsonl").unlink()
        plan = [ISOSWEEP, "plan", "bench.cfg", "--device", "cpu", "--format", "csv"]
        seconds, _, memory = measure(plan, folder)
        print(f"{cells:>7}  {'plan':<28} {seconds:>8.2f} {memory:>6.0f}")
        keys = [line.split(",", 1)[0] for line in (folder / "out").open()][1:]
        write_journal(folder / "sweep/journal.jsonl", first, keys[:-20])
        seconds, memory = time_to_first_start(isosweep(1), folder)
        print(f"{cells:>7}  {'go on, until a cell starts':<28} {seconds:>8.2f} {memory:>6.0f}")
        seconds, _, memory = measure(isosweep(1), folder)
        print(f"{cells:>7}  {'nothing left: checks, CSV':<28} {seconds:>8.2f} {memory:>6.0f}",
              flush=True)


def write_journal(file, records, keys):
    """A journal with the records of one cell for each of the keys."""
    one_of = {record["record"]: record for record in records}
    with file.open("w") as journal:
        def write(record):
            journal.write(json.dumps(record, separators=(",", ":")) + "\n")
        write(one_of["header"])
        write(one_of["hello"])
        for number, key in enumerate(keys):
            token = f"{number:032x}"
            write({**one_of["start"], "key": key, "token": token})
            write({**one_of["worker"], "token": token, "pid": 2**22 + number})
            write({**one_of["end"], "key": key, "token": token})


def time_to_first_start(command, folder):
    """Runs a sweep to its end: seconds until its journal grows, and the peak memory until then."""
    journal = folder / "sweep/journal.jsonl"
    size = journal.stat().st_size
    begin = time.monotonic()
    with open(folder / "err", "w") as err:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, cwd=folder)
        while journal.stat().st_size == size and process.poll() is None:
            time.sleep(0.002)
        seconds, memory = time.monotonic() - begin, peak_mb(process.pid)
    if process.wait() != 0:
        sys.exit(f"{command[0]} ended with {process.returncode}: {(folder / 'err').read_text()[-500:]}")
    return seconds, memory


def idle(seconds, on_terminal):
    """CPU milliseconds and turns of isosweep within some seconds of a worker's silence."""
    environment = {**os.environ, "NOOP_WORKER_SECONDS": str(seconds + 3), "TERM": "xterm"}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        write_config(pathlib.Path(folder), 1)
        terminal, stderr = pty.openpty() if on_terminal else (None, subprocess.DEVNULL)
        process = subprocess.Popen(isosweep(1), cwd=folder, env=environment, stderr=stderr,
                                   stdout=subprocess.DEVNULL)

        def look():
            running_ns, _, turns = open(f"/proc/{process.pid}/schedstat").read().split()
            return int(running_ns) / 1e6, int(turns)
        time.sleep(2)
        before, turns_before = look()
        time.sleep(seconds)
        after, turns_after = look()
        process.wait()
        if on_terminal:
            os.close(terminal)
            os.close(stderr)
    return after - before, turns_after - turns_before


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000, help="0: no comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--many", type=int, nargs="*", default=[10_000, 100_000],
                        help="cells of the large sweeps")
    parser.add_argument("--idle", type=int, default=20, help="seconds to be idle; 0: not measured")
    options = parser.parse_args()
    for program, package in (("parallel", "parallel"), ("xargs", "findutils")):
        if not shutil.which(program):
            print(f"{program} is missing and left out: apt-get install {package}", file=sys.stderr)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, kernel {os.uname().release}")
    if options.cells > 0:
        compare(options.cells, options.rounds, options.slots)
    if options.many:
        print(f"\n{'cells':>7}  {'a large sweep':<28} {'s':>8} {'MB':>6}")
    for cells in options.many:
        many_cells(cells)
    for on_terminal in (False, True) if options.idle > 0 else ():
        milliseconds, turns = idle(options.idle, on_terminal)
        where = "stderr a terminal" if on_terminal else "stderr a file"
        print(f"{'' if on_terminal else chr(10)}idle for {options.idle} s, {where}: "
              f"{milliseconds:.2f} ms of CPU = {milliseconds / options.idle / 10:.4f} % of a core, "
              f"{turns} turns", flush=True)


main()
