#include "orchestrator/help.h"

#include <boost/program_options.hpp>
#include <sstream>

#include "orchestrator/keys.h"

namespace isosweep {
namespace po = boost::program_options;
namespace {

po::options_description sweep_flags() {
    constexpr unsigned width = 100;
    po::options_description axes(
        "Axes (a comma list, several words, or a range a..b, a..b+step, "
        "a..b*factor)",
        width, width / 2);
    for_each_axis([&](const Field& field, const auto& value) {
        axes.add_options()(field.key().c_str(),
                           po::value<std::vector<std::string>>()->multitoken()->value_name(
                               "[=" + to_text(value) + "]"),
                           std::string(field.help).c_str());
    });
    axes.add_options()("axis.NAME",
                       po::value<std::vector<std::string>>()->multitoken()->value_name("VALUES"),
                       "a further axis, for a worker of your own");
    po::options_description others("Settings", width, width / 2);
    for (const SingleKey& key : single_keys()) {
        auto* value = po::value<std::string>()->value_name("[=" + key.default_text + "]");
        others.add_options()(key.name.c_str(), value, key.help.c_str());
    }
    others.add_options()("no-sync", "the same as --sync off");
    po::options_description all(width, width / 2);
    all.add(axes).add(others);
    return all;
}

}  // namespace

const char* const overview =
    R"(isosweep measures Transformer models over a grid of settings, each cell in a process of its own.

Usage:
  isosweep run CONFIG [--key value ...]       plan, run what is missing, write the CSV; the same
                                              command again goes on where it stopped
  isosweep shard I/N CONFIG [--key value ...] run shard I of N alone, as one task of a job array;
                                              `merge` joins them
  isosweep retry CONFIG --status LIST         run again the cells with one of these outcomes; with
                 [--fallback RULE]            --fallback, smaller ones for those out of memory
  isosweep plan CONFIG [--key value ...]      run nothing: list the cells, their memory and time
  isosweep status CONFIG [--follow] [--json]  done, running, failed and left, also of a sweep that
                                              runs in another terminal or on another machine
  isosweep report CONFIG_OR_CSV [--view V] [--format F] [--output FILE]
                                              the table: view cells, warmup, phases, memory,
                                              scaling, checks, failures or prediction; format text,
                                              markdown, latex, typst, csv, or html: one page with
                                              all of them and plots; --plots DIR writes the plots
  isosweep compare A B [--by FIELD=A:B] [--ignore FIELDS] [--threshold PERCENT]
                                              what changed from one sweep to another, with a
                                              verdict per cell; exit code 1 where something is
                                              worse
  isosweep merge A B ... -o C.csv             join sweeps of several machines into one
  isosweep completion bash|zsh                the script that completes this command line
  isosweep COMMAND --help                     every flag of a command
  isosweep --version

Every flag of run and plan is also a key of a config file (key = value), and the reverse.

Examples:
  isosweep run configs/smoke.cfg
  isosweep run configs/run_benchmarks.cfg --model-sizes small medium --precision bf16
  isosweep retry configs/full.cfg --status timeout,crash
  isosweep retry configs/full.cfg --status oom_gpu --fallback batch-size/2,precision:bf16

Exit codes of run and retry: 0 every cell has an outcome and none failed, 1 some failed, 2 usage or
config, 3 another run holds the output, 4 results cannot be written, 5 the environment is unusable,
130 after Ctrl-C.
)";

std::string help_of(Verb verb) {
    std::ostringstream text;
    const auto sweep = [&](const char* usage) { text << usage << "\n" << sweep_flags(); };
    switch (verb) {
        case Verb::run:
            sweep(
                "Usage: isosweep run CONFIG [--key value ...]\n\n"
                "Plans the cells of CONFIG, runs those that have no outcome yet, and writes the "
                "CSV.\nEvery flag is also a key of the config; the flag wins.\n");
            break;
        case Verb::shard:
            sweep(
                "Usage: isosweep shard I/N CONFIG [--key value ...]\n\n"
                "Runs shard I of the N equal ones of the plan, I from 1, as `run` would: the same "
                "command goes on where\nit stopped. With output = results/NAME.csv it writes "
                "results/NAME.shard-I-of-N.csv, and then\n"
                "`isosweep merge results/NAME.shard-*-of-N.csv --output results/NAME.csv` joins "
                "them.\nCells are dealt out by their FLOPs, and every task deals them out alike. "
                "The flags are those of `run`.\n");
            break;
        case Verb::plan:
            sweep(
                "Usage: isosweep plan CONFIG [--format FORMAT] [--key value ...]\n\n"
                "Lists the cells that `run` would plan, with their keys and what is foreseen of "
                "them: memory against\nthe GPU's or gpu-memory, FLOPs, time. Runs nothing. "
                "Formats: text, markdown, latex, typst, html,\ncsv (bytes and milliseconds, "
                "exact).\n");
            break;
        case Verb::retry:
            sweep(
                "Usage: isosweep retry CONFIG --status LIST [--key value ...]\n\n"
                "Runs again just the planned cells whose outcome is in LIST: ok, oom_gpu, "
                "oom_host,\ntimeout, crash, error, unsupported, invalid_result, spawn_failed, "
                "interrupted.\nWith --fallback or --bisect, cells that are oom_gpu are not run "
                "again "
                "themselves: the cells that\nfollow from them are. The other flags are those of "
                "`run`.\n");
            break;
        case Verb::status:
            sweep(
                "Usage: isosweep status CONFIG [--follow] [--json] [--key value ...]\n\n"
                "Says how far a sweep is, also while it runs in another terminal or, in a shared "
                "folder, on another\nmachine. The exit code is 0. The other flags are those of "
                "`run`: give the same ones.\n\n"
                "  --follow  again and again until the sweep has ended: drawn anew on a terminal, "
                "elsewhere\n            a line per change\n"
                "  --json    one JSON object (docs/BENCHMARKING.md); with --follow one a line per "
                "change\n");
            break;
        case Verb::report:
            text << "Usage: isosweep report CONFIG_OR_CSV [--view VIEW] [--format FORMAT] "
                    "[--output FILE]\n"
                    "                       [--plots DIR]\n\n"
                    "Prints a table of a sweep, a page or plots of it, from its journal where a "
                    "config is "
                    "given,\nfrom the file where a CSV is.\n\n"
                    "Views (the default is the config's, else cells):\n"
                    "  cells       every cell with its time\n"
                    "  warmup      the same, with the difference to 5 warm-up steps\n"
                    "  phases      forward against backward\n"
                    "  memory      what the peak is made of, and how much room there is\n"
                    "  scaling     time against context length, size and batch size, with "
                    "exponents\n"
                    "  checks      rows held against each other: canary, phases, passes, physics\n"
                    "  overhead    where the time of a cell goes beside its steps\n"
                    "  failures    the cells that are not ok by cause, and how to run them again\n"
                    "  prediction  what was predicted of memory and time, and by how much it is "
                    "off\n\n"
                    "Formats: text, markdown, latex (a table with booktabs), typst, csv (all "
                    "columns, exact), html.\n"
                    "html is one file that needs nothing else: summary, machine, plots, the tables "
                    "of all views\n(or of --view alone) and every failed cell. "
                    "--plots writes the plots to a folder, as SVG and PNG.\n"
                    "Plots are drawn by gnuplot.\n\n"
                    "Examples:\n"
                    "  isosweep report configs/full.cfg --format html --output full.html\n"
                    "  isosweep report results/full.csv --plots plots\n";
            break;
        case Verb::merge:
            text << "Usage: isosweep merge A B ... --output C.csv [--prefer ok|first|last|newest]\n"
                    "                      [--allow-mixed]\n\n"
                    "Joins the journals of sweeps, each named by its CSV, its folder or its "
                    "journal.jsonl, into a new\none, and writes its CSV. What was measured once is "
                    "taken once. `isosweep run CONFIG --output\nC.csv` then runs what is "
                    "missing.\n\n"
                    "  --output C.csv  the CSV to write, also as -o; there must be no such sweep "
                    "yet\n"
                    "  --prefer WHICH  of a cell with two outcomes take the one that is ok (of two "
                    "alike the first),\n"
                    "                  the first or the last one named, or the newest; without it "
                    "they are listed and\n"
                    "                  nothing is written (exit code 2)\n"
                    "  --allow-mixed   join what was measured with another build, GPU or driver; "
                    "the rows say which\n";
            break;
        case Verb::completion:
            text << "Usage: isosweep completion bash|zsh\n\n"
                    "Prints the script that completes this program's command line:\n\n"
                    "  bash  source <(isosweep completion bash)\n"
                    "  zsh   source <(isosweep completion zsh), behind compinit\n\n"
                    "`cmake --install` puts both where the shells look for them.\n";
            break;
        case Verb::compare:
            text << R"(Usage: isosweep compare A B [--by FIELD=A:B ...] [--ignore FIELDS]
                        [--threshold PERCENT] [--force]
                        [--format text|markdown|json] [--output FILE]

Tells what changed from sweep A to sweep B, from the samples in their journals. A sweep is the CSV
of a run, its config, or its folder; a CSV without its journal is judged by its statistics.
Cells are the same where all their fields are.

  --by FIELD=A:B       compare cells with one value of a field in A with those with another in B,
                       as in --by kernels=reference:fused; A and B may be one file
  --ignore FIELDS      cells are the same although they differ in these (a comma list)
  --threshold PERCENT  what is worth a word, of time and of memory (default 1)
  --force              compare sweeps of different GPUs or drivers all the same
  --format, --output   how and where it is written

FASTER, SLOWER: beyond the threshold, p < 0.005 and Holm's p < 0.05. SAME: the 95 % interval is
within the threshold. INCONCLUSIVE: neither.
Exit codes: 0 nothing worse, 1 something is (SLOWER, more memory, no longer ok), 2 usage or not
comparable.
)";
            break;
    }
    return text.str();
}

}  // namespace isosweep
