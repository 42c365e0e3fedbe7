#include "options.h"

#include <boost/program_options.hpp>
#include <sstream>
#include <type_traits>
#include <vector>

namespace isosweep {
namespace {

namespace po = boost::program_options;

constexpr unsigned line_width = 100;
constexpr const char* stray_words = "stray";

bool is_of_model(const Field& field) {
    return field.kind == FieldKind::dimension || field.name == "model_size" ||
           field.name == "vocab_size";
}

struct Descriptions {
    po::options_description model{"The model", line_width};
    po::options_description run{"What to run and how to measure it", line_width};
    po::options_description inspection{"To look inside one step instead of measuring", line_width};
    po::options_description program{"The program", line_width};

    Descriptions() {
        // Values are read as text, so that all of them are parsed and refused in the same words.
        const Cell defaults;
        for_each_field(defaults, [&](const Field& field, const auto& value) {
            const std::string usual =
                field.kind == FieldKind::dimension ? "the size's" : to_text(value);
            const std::string help =
                std::string(field.help) + (usual.empty() ? "" : " (default " + usual + ")");
            (is_of_model(field) ? model : run)
                .add_options()(field.key().c_str(), po::value<std::string>()->value_name("VALUE"),
                               help.c_str());
        });
        run.add_options()("no-sync", "the same as --sync off");
        inspection.add_options()("breakdown", "where the step's time goes, by operation group");
        inspection.add_options()("trace", po::value<std::string>()->value_name("FILE.json"),
                                 "write what Torch's profiler sees, for chrome://tracing");
        inspection.add_options()("profile",
                                 "for nsys and ncu: NVTX ranges, cudaProfilerStart and -Stop");
        inspection.add_options()("memory-snapshot",
                                 po::value<std::string>()->value_name("FILE.pickle"),
                                 "write the GPU's allocations, for pytorch.org/memory_viz");
        program.add_options()("json", "print the result as one JSON object, as --serve does");
        program.add_options()("strict", "fail (exit code 1) when the result has flags");
        program.add_options()("probe", po::value<std::string>()->value_name("NAME"),
                              "instead of a cell. matmul: how fast the GPU multiplies large "
                              "matrices in --precision; start: where the time goes until its "
                              "first product");
        program.add_options()("serve",
                              "answer the requests of isosweep on stdin (docs/PROTOCOL.md)");
        program.add_options()("version", "print what this is and with which LibTorch");
        program.add_options()("help", "print this");
    }

    po::options_description all() const {
        po::options_description everything;
        everything.add(model).add(run).add(inspection).add(program);
        return everything;
    }
};

std::vector<std::string> flags_of(const po::options_description& options) {
    std::vector<std::string> flags;
    for (const auto& option : options.options()) flags.push_back("--" + option->long_name());
    return flags;
}

po::variables_map parse(int argc, const char* const* argv) {
    const po::options_description all = Descriptions().all();
    // Takes what stands alone, to name it.
    po::options_description accepted;
    accepted.add(all).add_options()(stray_words, po::value<std::vector<std::string>>());
    // No guessing: an abbreviation that works today is ambiguous with the next flag.
    constexpr int style =
        (po::command_line_style::unix_style & ~po::command_line_style::allow_guessing) &
        ~po::command_line_style::allow_short;
    try {
        const po::parsed_options parsed =
            po::command_line_parser(argc, argv)
                .options(accepted)
                .style(style)
                .positional(po::positional_options_description().add(stray_words, -1))
                .run();
        po::variables_map given;
        po::store(parsed, given);
        if (given.count(stray_words) > 0)
            throw UsageError(given[stray_words].as<std::vector<std::string>>().front() +
                             ": a value needs its flag in front of it; --help lists them");
        return given;
    } catch (const po::unknown_option& problem) {
        const std::string flag = problem.get_option_name();
        throw UsageError(flag + ": no such flag" + did_you_mean(flag, flags_of(all)) +
                         "; --help lists them");
    } catch (const po::multiple_occurrences& problem) {
        throw UsageError(problem.get_option_name() + ": given twice");
    } catch (const po::invalid_command_line_syntax& problem) {
        const bool lacks_value = problem.kind() == po::invalid_syntax::missing_parameter ||
                                 problem.kind() == po::invalid_syntax::empty_adjacent_parameter;
        throw UsageError(problem.get_option_name() +
                         (lacks_value ? ": expected a value behind it" : ": takes no value"));
    } catch (const po::error_with_option_name& problem) {
        throw UsageError(problem.get_option_name() + ": " + one_line(problem.what()));
    } catch (const po::error& problem) {
        throw UsageError(one_line(problem.what()));
    }
}

/// Sets the model from its size's name, then from the dimensions that were given.
void read_model(const po::variables_map& given, Cell& cell) {
    const auto count = [&](const char* name) { return static_cast<int>(given.count(name)); };
    const int dimensions =
        count("d-model") + count("d-ff") + count("num-layers") + count("num-heads");
    if (given.count("model-size") == 0) {
        if (dimensions > 0) cell.model_size = "custom";
        return;
    }
    const auto& name = given["model-size"].as<std::string>();
    if (const ModelConfig* known = find_model_config(name)) {
        set_model(cell, name, *known);
        return;
    }
    if (dimensions == 4) {
        cell.model_size = name;
        return;
    }
    std::vector<std::string> names;
    for (const auto& known : model_configs()) names.push_back(known.first);
    throw UsageError("--model-size " + name + ": expected one of " + join(names, ", ") +
                     ", or any name with --d-model, --d-ff, --num-layers and --num-heads" +
                     did_you_mean(name, names));
}

/// Refuses what a probe has no use for.
void check_probe(const po::variables_map& given) {
    const auto& name = given["probe"].as<std::string>();
    if (name != "matmul" && name != "start")
        throw UsageError("--probe " + name + ": expected matmul or start");
    for (const auto& [flag, value] : given)
        if (flag != "probe" && flag != "precision" && flag != "json")
            throw UsageError("--" + flag + ": a probe takes only --precision and --json");
}

Cell read_cell(const po::variables_map& given) {
    Cell cell;
    read_model(given, cell);
    for_each_field(cell, [&](const Field& field, auto& value) {
        if (field.name == "model_size" || given.count(field.key()) == 0) return;
        const auto& text = given[field.key()].as<std::string>();
        try {
            parse_field(text, field, value);
        } catch (const BadValue& problem) {
            throw UsageError("--" + field.key() + " " + text + ": " + problem.what());
        }
    });
    if (given.count("no-sync") > 0) {
        if (given.count("sync") > 0) throw UsageError("--no-sync: given beside --sync");
        cell.sync = false;
    }
    if (const auto reason = invalid_reason(model_config(cell)); !reason.empty())
        throw UsageError("no such model: " + reason);
    return cell;
}

Inspection read_inspection(const po::variables_map& given) {
    const auto file = [&](const char* flag) {
        if (given.count(flag) == 0) return std::string();
        auto path = given[flag].as<std::string>();
        if (path.empty()) throw UsageError("--" + std::string(flag) + ": expected a file's name");
        return path;
    };
    return {.profile = given.count("profile") > 0,
            .trace = file("trace"),
            .memory_snapshot = file("memory-snapshot"),
            .breakdown = given.count("breakdown") > 0};
}

}  // namespace

Options parse_options(int argc, const char* const* argv) {
    const po::variables_map given = parse(argc, argv);
    Options options;
    options.json = given.count("json") > 0;
    options.strict = given.count("strict") > 0;
    if (given.count("help") > 0) {
        options.action = Options::Action::help;
    } else if (given.count("version") > 0) {
        options.action = Options::Action::version;
    } else if (given.count("serve") > 0) {
        options.action = Options::Action::serve;
        if (given.size() > 1)
            throw UsageError("--serve: takes no other flag; the requests on stdin say what to run");
    } else {
        if (given.count("probe") > 0) {
            options.action = Options::Action::probe;
            options.probe = given["probe"].as<std::string>();
            check_probe(given);
        }
        options.cell = read_cell(given);
        options.inspection = read_inspection(given);
    }
    return options;
}

std::string help_text() {
    const Descriptions descriptions;
    std::ostringstream text;
    text << "isosweep-worker measures one cell: a Transformer of one size, one kind of pass over "
            "one\n"
            "batch, timed step by step on the GPU (or the CPU). Sweeps over many cells are the "
            "work\n"
            "of `isosweep`, which starts this program for each.\n"
            "\n"
            "Usage: isosweep-worker [flags]\n"
            "       isosweep-worker --probe matmul|start [--precision P] [--json]\n"
            "       isosweep-worker --serve\n"
            "\n"
            "Examples:\n"
            "  isosweep-worker --model-size small --context-length 512 --pass-type "
            "forward_backward\n"
            "  isosweep-worker --model-size tiny --device cpu --warmup-steps 1 --measure-steps 3 "
            "--json\n"
            "  isosweep-worker --d-model 512 --d-ff 2048 --num-layers 8 --num-heads 8 --precision "
            "bf16\n"
            "\n"
         << descriptions.model << "\n"
         << descriptions.run << "\n"
         << descriptions.inspection << "\n"
         << descriptions.program << "\n"
         << "Dimensions are the size's unless given. The result goes to stdout, all else to "
            "stderr.\n"
            "Exit code: 0 measured, 1 the cell failed (the reason is on stderr), 2 wrong usage.\n";
    return text.str();
}

}  // namespace isosweep
