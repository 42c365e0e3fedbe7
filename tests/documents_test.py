#!/usr/bin/env python3
"""documents_test.py SOURCE_DIR ISOSWEEP FAKE_WORKER [WORKER]: do the documents tell the truth?

Every command that a document shows is run, in a sandbox of its own per document and in the
document's order; where the output stands below it, both are compared. Every flag is known to some
command, every path is there or is made by a command, every link leads somewhere, and every key and
column is described with its unit. In sweeps the scripted worker stands in for isosweep-worker; what
that one does by hand is run where there is one (WORKER).
"""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(sys.argv[1])
ISOSWEEP = Path(sys.argv[2])
FAKE_WORKER = Path(sys.argv[3])
WORKER = Path(sys.argv[4]) if len(sys.argv) > 4 else None

DOCUMENTS = ["README.md", "results/README.md", "results/reference/NVIDIA-H200/README.md"] + sorted(
    str(path.relative_to(SOURCE)) for path in (SOURCE / "docs").glob("*.md")
)

KEPT = "results/reference/NVIDIA-H200"

# Commands that no test can run, each with the reason.
NOT_RUN = [
    (r"^make\b", "builds this very tree; that the target exists is tested"),
    (r"^(cmake|git|sudo|apt-get)\b", "builds or installs"),
    (r"^(nsys|ncu)\b", "needs NVIDIA's profilers and a GPU"),
    (r"nsys profile", "needs NVIDIA's profilers"),
    (r"--cuda-graph on|--probe|--memory-snapshot|--profile\b", "needs a GPU"),
    (r"\b(srun|sbatch|ssh|scp|rsync)\b", "needs a cluster or another machine"),
    (r"^export (PATH|LD_LIBRARY_PATH)=", "sets up the shell; the test has its own"),
    (
        r"^(\./isosweep|chromium|xdg-open|kill)\b",
        "is for another machine, a desktop or a run that goes on",
    ),
    (r"\b(GPU|NAME|KEY|DIR|PID|CONFIG|PROGRAM)\b", "a pattern, no command"),
]

# Commands that end otherwise than with 0, and how.
EXIT_CODES = {
    "isosweep run configs/failing.cfg": 1,
    "isosweep retry configs/failing.cfg --status crash,timeout --timeout 1s": 1,
    "isosweep run configs/failing.cfg --only bd42912b43fa3d28": 1,
    "isosweep run configs/smoke.cfg --model-sizes smal": 2,
    # Memory that grows is something worse.
    f"isosweep compare {KEPT}/reference_kernels.csv {KEPT}/reference_kernels.csv --by precision=fp32:bf16": 1,
    f"isosweep compare {KEPT}/reference_kernels.csv {KEPT}/fused_kernels.csv --by kernels=reference:fused "
    "--by cuda-graph=off:on": 1,
}

# Whose output is not compared: figures and flags of what the machine at hand measures.
NOT_COMPARED = [
    r"isosweep run configs/smoke\.cfg( --(context-length|kernels|order) .*)?$|results/shuffled|sum\.cfg",
    r"^(OMP_NUM_THREADS=1 )?isosweep-worker",
    r"--version",
]
# Whose output is compared figure by figure, since it is made from kept results.
EXACT = r"isosweep (report|compare|plan) "

# What a program says that was built for this test.
DEBUG_BUILD = "warning: this is a debug build"

# What has to be there before a document's commands, as a shell script.
FIXTURES = {
    "docs/BENCHMARKING.md": f"""
        for name in full before after; do
            cp {KEPT}/reference_kernels.csv results/$name.csv
            cp -r {KEPT}/reference_kernels results/$name
        done
        touch results/full/lock
        isosweep run configs/smoke.cfg --model-size tiny --context-length 32 --output results/a.csv
        isosweep run configs/smoke.cfg --model-size tiny --context-length 64 --output results/b.csv
    """,
}

# Flags of other programs.
FOREIGN_FLAGS = {
    "--install",
    "--prefix",
    "--preset",
    "--workflow",
    "--build",  # cmake
    "--user",
    "--scope",
    "--localalloc",
    "--cpunodebind",
    "--membind",  # systemd-run, numactl
    "--trace",
    "--capture-range",
    "--capture-range-end",
    "--output",
    "--report",
    "--set",  # nsys
    "--profile-from-start",
    "--nvtx",
    "--nvtx-include",
    "--export",
    "--launch-count",  # ncu
    "--test-suite",
    "--partition",
    "--gres",
    "--gpus-per-task",
    "--ntasks",
    "--time",
    "--nodes",
    "--array",
    "--wrap",
    "--gpus",
    "--quiet",
    "--exclusive",
    "--immediate",
    "--kill-on-bad-exit",
    "--exact",
    "--mem",
    "--overlap",
    "--pty",
    "--constraint",
    "--job-name",
    "--exclude",  # Slurm
}

failures = []


def fail(document, what):
    failures.append(f"{document}: {what}")


# ---------------------------------------------------------------- reading a document


@dataclass
class Block:
    """A fenced or an indented piece of a document."""

    language: str
    lines: list
    first: int  # its lines in the document, fences included, from 0
    last: int


def blocks_of(text):
    """The code blocks; lists' indented continuation lines follow no empty line, so they are none."""
    blocks, lines, index = [], text.splitlines(), 0
    while index < len(lines):
        line = lines[index]
        if line.startswith("```"):
            end = index + 1
            while not lines[end].startswith("```"):
                end += 1
            blocks.append(Block(line[3:].strip(), lines[index + 1 : end], index, end))
            index = end + 1
        elif line.startswith("    ") and (index == 0 or not lines[index - 1].strip()):
            end = index
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            blocks.append(Block("sh", [part[4:] for part in lines[index:end]], index, end - 1))
            index = end
        else:
            index += 1
    return blocks


def joined(lines):
    """Lines with those that end in a backslash put together, comments at the end cut off."""
    commands, rest = [], ""
    for line in lines:
        line = rest + re.sub(r"(^|\s)#\s.*", "", line).rstrip()
        if line.endswith("\\"):
            rest = line[:-1].rstrip() + " "
            continue
        rest = ""
        if line.strip():
            commands.append(re.sub(r"\s+", " ", line.strip()))
    return commands


@dataclass
class Step:
    """A command of a document, and the output that it shows for it (None: none)."""

    command: str
    shown: list | None


def steps_of(text):
    """What a reader would type, in order, and config files that a document shows, by their name."""
    steps, lines, end = [], text.splitlines(), 0
    for block in blocks_of(text):
        follows, end = not "".join(lines[end + 1 : block.first]).strip(), block.last
        if block.language == "sh":
            steps += [Step(command, None) for command in joined(block.lines)]
        elif block.language in ("", "console"):
            first = block.lines[0] if block.lines else ""
            config = re.match(r"# ([\w./-]+\.cfg)\b", first)
            if config:
                steps.append(Step(f"config {config[1]}", block.lines))
            elif any(line.startswith("$ ") for line in block.lines):
                for line in block.lines:
                    if line.startswith("$ "):
                        steps.append(Step(joined([line[2:]])[0], []))
                    else:
                        steps[-1].shown.append(line)
            elif follows and steps and steps[-1].shown is None:
                steps[-1].shown = block.lines
    return steps


# ---------------------------------------------------------------- running its commands


def sandbox_at(folder):
    """A folder as the repository's root after a build, in which commands may write."""
    folder.mkdir()
    shutil.copytree(SOURCE / "configs", folder / "configs")
    (folder / "results").mkdir()
    for path in ("results/reference", "tests", "docs"):
        (folder / path).symlink_to(SOURCE / path)
    programs = folder / "build/bin"
    programs.mkdir(parents=True)
    # The worker is looked for beside the program's real path, so links would lead out of here.
    shutil.copy(ISOSWEEP, programs / "isosweep")
    shutil.copy(FAKE_WORKER, programs / "fake-worker")
    # Sweeps are about isosweep: what the real worker measures would take minutes.
    shutil.copy(FAKE_WORKER, programs / "isosweep-worker")


def shell(script, folder):
    # As on a machine without a GPU, so that the same comes out everywhere.
    environment = dict(
        os.environ,
        PATH=f"{folder}/build/bin:{os.environ['PATH']}",
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
    )
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        timeout=60,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )


def plain(text, exact):
    """A text to compare: without trailing blanks, and unless it is exact with all numbers alike."""
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith(DEBUG_BUILD)]
    if not exact:
        lines = [re.sub(r"\d+(\.\d+)?", "0", line) for line in lines]
        lines = [re.sub(r"-{2,}", "--", re.sub(r" +", " ", line)) for line in lines]
    return "\n".join(line for line in lines if line)


def is_shown(shown, printed, exact):
    """Whether the output is what is shown, where `...` stands for anything."""
    pattern = ""
    for line in plain("\n".join(shown), exact).splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += re.escape(line).replace(re.escape("..."), ".*") + r"\n"
    return re.fullmatch(pattern, plain(printed, exact) + "\n") is not None


def run_commands(document, text, folder):
    sandbox_at(folder)
    if document in FIXTURES:
        shell("set -e\n" + FIXTURES[document], folder).check_returncode()
    for step in steps_of(text):
        if step.command.startswith("config "):
            path = folder / step.command.split()[1]
            path.write_text("\n".join(step.shown) + "\n")
            continue
        if step.command.startswith("make"):
            target = re.sub(r"^make ?", "", step.command)
            if subprocess.run(
                f"make -n {target}", shell=True, cwd=SOURCE, capture_output=True
            ).returncode:
                fail(document, f"not a target: {step.command}")
        if any(re.search(pattern, step.command) for pattern, _ in NOT_RUN):
            continue
        by_hand = re.match(r"(\w+=\S+ )?(build/bin/)?isosweep-worker\b", step.command)
        if by_hand and not WORKER:
            continue
        if not by_hand and not re.search(r"\bisosweep\b", step.command):
            fail(document, f"neither a command of ours nor listed in the test: {step.command}")
            continue
        ran = shell(
            (
                re.sub(r"(build/bin/)?isosweep-worker\b", str(WORKER), step.command)
                if by_hand
                else step.command
            ),
            folder,
        )
        command = step.command.removeprefix("build/bin/")
        expected = EXIT_CODES.get(
            command, 2 if step.shown and by_hand and "unsupported" in str(step.shown) else 0
        )
        if ran.returncode != expected:
            fail(
                document,
                f"exit code {ran.returncode}, not {expected}: {step.command}\n{ran.stdout}",
            )
        elif step.shown and not any(re.search(pattern, command) for pattern in NOT_COMPARED):
            if not is_shown(step.shown, ran.stdout, re.match(EXACT, command) is not None):
                fail(document, f"prints something else than is shown: {step.command}\n{ran.stdout}")


# ---------------------------------------------------------------- what documents name


def code_of(text):
    """All that is set as code."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    return spans + [line for block in blocks_of(text) for line in block.lines]


def known_flags():
    helps = [shell("isosweep --help", SANDBOX).stdout]
    commands = re.findall(r"^  isosweep ([a-z]+) ", helps[0], flags=re.M)
    assert "compare" in commands and "run" in commands, "isosweep --help lists no commands"
    helps += [shell(f"isosweep {command} --help", SANDBOX).stdout for command in commands]
    flags = set(re.findall(r"--[a-z][a-z-]+", "\n".join(helps)))
    flags |= {flag + "s" for flag in flags}  # plurals of axes
    options = (SOURCE / "worker/options.cpp").read_text()
    return (
        flags
        | {f"--{name}" for name in re.findall(r'add_options\(\)\("([a-z-]+)"', options)}
        | {"--d-model", "--d-ff", "--num-layers", "--num-heads", "--help", "--version"}
    )


def check_flags(document, text, known):
    for code in code_of(text):
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            if flag not in known and flag not in FOREIGN_FLAGS:
                fail(document, f"no command knows {flag}: {code}")


def check_paths(document, text, folders):
    roots = (
        "configs|docs|results|scripts|tests|common|orchestrator|worker|examples|cmake|\\.ci|build"
    )
    for code in code_of(text):
        for option, path in re.findall(
            rf"(?<![\w/.}}$-])(--output |-o |written: )?((?:{roots})/[\w./*-]+)", code
        ):
            path = path.rstrip("./,")
            if option or re.search(
                r"(?<![A-Za-z])(NAME|KEY|DATE|CONFIG|GPU|PRECISION|N)(?![A-Za-z])", path
            ):
                continue  # what a command writes, or a pattern
            places = [SOURCE] + folders
            if not any(
                (place / path).exists()
                or any(place.glob(path + ".*"))
                or ("*" in path and any(place.glob(path)))
                for place in places
            ):
                fail(document, f"there is no {path}")


def slugs_of(text):
    """The anchors that GitHub gives to headings."""
    slugs, seen = set(), {}
    for heading in re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), flags=re.M
    ):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        slugs.add(slug if count == 0 else f"{slug}-{count}")
    return slugs


def check_links(document, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (SOURCE / document).parent / path if path else SOURCE / document
        if not file.exists():
            fail(document, f"a link to what is not there: {target}")
        elif anchor and anchor not in slugs_of(file.read_text()):
            fail(document, f"a link to no heading: {target}")


# ---------------------------------------------------------------- keys, columns, files


def table_rows(text):
    """Rows of the tables, as lists of cells, with the cells of the row at the head."""
    head, rows = None, []
    for line in text.splitlines():
        cells = (
            [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if line.startswith("|")
            else None
        )
        if cells is None:
            head = None
        elif head is None:
            head = cells
        elif not re.fullmatch(r"[|: -]+", line):
            rows.append((head, cells))
    return rows


UNITS = {
    "_ms": "ms",
    "_bytes": "bytes",
    "_percent": "%",
    "_mhz": "MHz",
    "_us": "us",
    "_tflops": "TFLOP/s",
}


def check_keys_and_columns():
    document = "docs/BENCHMARKING.md"
    text = (SOURCE / document).read_text()
    rows = table_rows(text)
    keys = re.findall(
        r"^  --([a-z-]+) \[=", shell("isosweep run --help", SANDBOX).stdout, flags=re.M
    )
    assert len(keys) > 30, "run --help lists no keys"
    described = {
        name
        for head, cells in rows
        if head[0] == "key"
        for name in re.findall(r"`([a-z-]+)`", cells[0])
    }
    for key in keys:
        if key not in described:
            fail(document, f"no row for the key {key}")
    columns = {}
    for head, cells in rows:
        if head[0] == "column":
            for name in re.findall(r"`([a-z0-9_]+)`", cells[0]):
                columns.setdefault(name, []).append((head, cells))
    with open(SOURCE / "tests/expected/header.csv", newline="") as file:
        header = next(csv.reader(file))
    for column in header:
        if column == "behaviour":  # the scripted worker's own axis
            continue
        if column not in columns:
            fail(document, f"no row for the column {column}")
            continue
        unit = next((unit for end, unit in UNITS.items() if column.endswith(end)), None)
        with_unit = [
            cells[1] for head, cells in columns[column] if len(head) > 2 and head[1] == "unit"
        ]
        if unit and with_unit and not any(unit in cell for cell in with_unit):
            fail(document, f"no unit for the column {column}")


def check_architecture():
    document = "docs/ARCHITECTURE.md"
    words = set(re.findall(r"\w+", (SOURCE / document).read_text()))
    for folder in ("common", "orchestrator", "worker"):
        for file in (SOURCE / folder).glob("*.cpp"):
            if file.stem not in words and file.stem != "main":
                fail(document, f"does not name {folder}/{file.name}")


def check_python_worker():
    """The worker that the protocol shows is the one that a test sweeps."""
    document = "docs/PROTOCOL.md"
    shown = [
        block for block in blocks_of((SOURCE / document).read_text()) if block.language == "python"
    ]
    if [block.lines for block in shown] != [
        (SOURCE / "tests/python_worker.py").read_text().splitlines()
    ]:
        fail(document, "shows another worker than tests/python_worker.py")


def check_quick_start():
    """README's first commands are the ones that are tested."""
    quick = re.search(
        r"^## Quick start\n(.*?)^## ", (SOURCE / "README.md").read_text(), flags=re.S | re.M
    )
    commands = joined(blocks_of(quick[1])[0].lines) if quick else []
    if commands != ["make sweep", "make test"]:
        fail("README.md", f"the quick start is not make sweep and make test: {commands}")
    if "make test" not in (SOURCE / ".ci/run").read_text().splitlines():
        fail(".ci/run", "does not run make test")


with tempfile.TemporaryDirectory(prefix="isosweep-documents.") as temporary:
    SANDBOX = Path(temporary) / "help"
    sandbox_at(SANDBOX)
    texts = {document: (SOURCE / document).read_text() for document in DOCUMENTS}
    folders = []
    for number, (document, text) in enumerate(texts.items()):
        folders.append(Path(temporary) / str(number))
        run_commands(document, text, folders[-1])
    known = known_flags()
    for document, text in texts.items():
        check_flags(document, text, known)
        check_paths(document, text, folders)
        check_links(document, text)
    check_keys_and_columns()
    check_architecture()
    check_python_worker()
    check_quick_start()

for failure in failures:
    print(failure, file=sys.stderr)
print(f"{len(DOCUMENTS)} documents, {len(failures)} failures")
sys.exit(1 if failures else 0)
