#include "orchestrator/options.h"

#include <doctest/doctest.h>

#include "orchestrator/errors.h"
#include "temp_folder.h"

using namespace isosweep;
using isosweep::tests::TempFolder;

namespace {

const std::vector<std::string>* values(const AxisValues& axes, const std::string& key) {
    for (const auto& [known, found] : axes)
        if (known == key) return &found;
    return nullptr;
}

using Words = std::vector<std::string>;

/// A config in a folder of its own, and command lines that name it.
struct Config {
    explicit Config(const std::string& text) : file(folder / "x.cfg") {
        tests::write_file(file, text);
    }
    Command parse(Words flags = {}, const std::string& verb = "run") const {
        flags.insert(flags.begin(), {verb, file.string()});
        return parse_command_line(flags);
    }
    /// The message of the error, with the file's name alone instead of its path.
    std::string problem(Words flags = {}, const std::string& verb = "run") const {
        try {
            parse(std::move(flags), verb);
        } catch (const UsageError& error) {
            std::string text = error.what();
            const std::string path = folder.path().string() + "/";
            for (auto at = text.find(path); at != std::string::npos; at = text.find(path))
                text.erase(at, path.size());
            return text;
        }
        return "no problem";
    }
    TempFolder folder;
    std::filesystem::path file;
};

}  // namespace

TEST_CASE("axes take lists, words and ranges, singular or plural") {
    const Config config("context-length = 128..1024*2\nbatch-size = 1 2, 4\nseed = 1..7+3\n");
    const Command command = config.parse({"--model-sizes", "small", "medium,large", "--seeds=5"});
    const Grid& grid = command.options.grid;
    CHECK(*values(grid.values, "context-length") == Words{"128", "256", "512", "1024"});
    CHECK(*values(grid.values, "batch-size") == Words{"1", "2", "4"});
    CHECK(*values(grid.values, "seed") == Words{"1", "4", "7"});
    CHECK(*values(grid.command_line, "model-size") == Words{"small", "medium", "large"});
    CHECK(*values(grid.command_line, "seed") == Words{"5"});
}

TEST_CASE("quotes keep a value together") {
    const Config config("axis.x = \"a,b\", 'c d'  e\n");
    CHECK(*values(config.parse().options.grid.values, "axis.x") == Words{"a,b", "c d", "e"});
}

TEST_CASE("settings come from the config, and the command line wins") {
    const Config config(
        "timeout = 90s\nretry = crash:2,timeout:1\nlauncher = nice -n 5 'a b'\noutput = o/p.csv\n");
    const Options options = config.parse({"--timeout", "2m", "--fresh", "--no-sync"}).options;
    CHECK(options.timeout == std::chrono::minutes(2));
    CHECK(options.retry == RetryRule{{Status::crash, 2}, {Status::timeout, 1}});
    CHECK(options.launcher == Words{"nice", "-n", "5", "a b"});
    CHECK(options.folder() == "o/p");
    CHECK(options.memory_limit == OptionalBytes{});
    CHECK(config.parse({"--memory-limit", "24GiB"}).options.memory_limit ==
          OptionalBytes{std::int64_t{24} << 30});
    CHECK(options.fresh);
    CHECK(*values(options.grid.command_line, "sync") == Words{"off"});
    CHECK(Config("").parse().options.output == "results/x.csv");
    CHECK_FALSE(Config("fresh = on").parse({"--fresh", "off"}).options.fresh);
}

TEST_CASE("own sizes and sections of sizes") {
    const Config config(
        "model-size = mine, 2.7B\n[size.2.7B]\nbatch-size = 1\n[size.mine]\ncontext-lengths = 64\n"
        "[model.mine]\nd-model = 64\nd-ff = 128\nnum-layers = 2\nnum-heads = 4\n");
    const Grid grid = config.parse().options.grid;
    CHECK(grid.models.at("mine") == ModelConfig{64, 128, 2, 4});
    CHECK(*values(grid.size_values.at("2.7B"), "batch-size") == Words{"1"});
    CHECK(*values(grid.size_values.at("mine"), "context-length") == Words{"64"});
}

TEST_CASE("bad input is one line with file, line, key, value, what was expected and near misses") {
    CHECK(Config("seed = 1\ncontext-lenght = 4\n").problem() ==
          "x.cfg:2: unknown key 'context-lenght'; did you mean 'context-length'?");
    CHECK(Config("pass-type = foward").problem() ==
          "x.cfg:1: pass-type = 'foward': expected one of forward, forward_backward, train_step; "
          "did you mean 'forward'?");
    CHECK(
        Config("model-size = smal, large").problem() ==
        "x.cfg:1: model-size = 'smal': expected one of tiny, small, medium, large, xl, 2.7B, 10B; "
        "did you mean 'small'?");
    CHECK(Config("batch-size = 0").problem() ==
          "x.cfg:1: batch-size = '0': expected an integer >= 1");
    CHECK(Config("batch-size = 1,,2").problem() ==
          "x.cfg:1: batch-size = '1,,2': expected a value between the commas");
    CHECK(Config("context-length = 1024..128").problem() ==
          "x.cfg:1: context-length = '1024..128': expected a range a..b, a..b+step or a..b*factor");
    CHECK(Config("timeout = soon").problem() ==
          "x.cfg:1: timeout = 'soon': expected a duration, as in 250ms, 90s, 10m or 1.5h");
    CHECK(Config("retry = crush:1").problem() ==
          "x.cfg:1: retry = 'crush:1': expected OUTCOME:N,... with an outcome of crash, timeout, "
          "error, invalid_result, oom_gpu, oom_host, spawn_failed, unsupported; did you mean "
          "'crash'?");
    CHECK(Config("[sizes.large]\nbatch-size = 1").problem() ==
          "x.cfg:1: unknown section [sizes.large]: expected [size.NAME] or [model.NAME]");
    CHECK(Config("[model.m]\nd-model = 64\nd-ff = 1\nnum-layers = 1\nnum-heads = 5").problem() ==
          "x.cfg:5: [model.m]: num_heads (5) does not divide d_model (64)");
    CHECK(Config("[model.m]\n").problem() ==
          "x.cfg:1: [model.m] lacks d-model: it needs d-model, d-ff, num-layers, num-heads");
    CHECK(Config("[wrong]\n").problem() ==
          "x.cfg:1: unknown section [wrong]: expected [size.NAME] or [model.NAME]");
    CHECK(Config("[size.small]\ncontext-length = 4 \"\n").problem() ==
          "x.cfg:2: context-length = '4 \"': expected a closing \"");
    CHECK(Config("model-size = tiny\nmodel-sizes = small\n").problem() ==
          "x.cfg:2: model-sizes is already set at x.cfg:1");
    CHECK(Config("vocab-size = 9223372036854775807").problem() ==
          "x.cfg:1: vocab-size = '9223372036854775807': expected an integer <= 1000000000");
    CHECK(Config("axis.mean_time_ms = 1").problem().ends_with("choose another for this axis"));
    CHECK(Config("[model.m]\nd-model = 64").problem() ==
          "x.cfg:2: [model.m] lacks d-ff: it needs d-model, d-ff, num-layers, num-heads");
    CHECK(Config("axis.status = 1").problem() ==
          "x.cfg:1: axis.status = '': the name is taken; choose another for this axis");
}

TEST_CASE("bad flags name the flag") {
    const Config config("");
    CHECK(config.problem({"--context-lenght", "4"}) ==
          "unknown flag '--context-lenght'; did you mean 'context-length'?");
    CHECK(config.problem({"--precision", "bf16", "fp8"}) ==
          "--precision = 'fp8': expected one of fp32, tf32, bf16");
    CHECK(config.problem({"--timeout"}) == "--timeout: expected one value, got none");
    CHECK(config.problem({"--timeout", "1s", "2s"}) == "--timeout: expected one value, got 1s 2s");
    CHECK(config.problem({"--batch-size", "1", "--batch-sizes", "2"}) ==
          "--batch-sizes is given twice; give all its values to one");
    CHECK(config.problem({"stray"}) == "unexpected argument 'stray': expected a flag");
    CHECK(config.problem({}, "retry") ==
          "retry needs --status LIST, as in --status oom_gpu,timeout,crash");
    CHECK(config.problem({"--status", "crashed"}, "retry") ==
          "--status = 'crashed': expected one of ok, oom_gpu, oom_host, timeout, crash, error, "
          "unsupported, invalid_result, spawn_failed, interrupted, skipped, not_run; did you mean "
          "'crash'?");
    CHECK(config.problem({"--formt", "csv"}, "report") ==
          "unknown flag '--formt' of report; did you mean 'format'?");
    CHECK(
        config.problem({"--format", "latx"}, "report") ==
        "--format = 'latx': expected one of text, markdown, latex, typst, html, csv; did you mean "
        "'latex'?");
    CHECK(config.problem({"--view", "scaling"}) ==
          "--view = 'scaling': expected one of cells, warmup, phases");
}

TEST_CASE("a command without its config, and an unknown one, say what to type") {
    const auto problem = [](const Words& words) -> std::string {
        try {
            parse_command_line(words);
        } catch (const UsageError& error) {
            return error.what();
        }
        return "no problem";
    };
    CHECK(problem({"run"}) ==
          "run needs a config right behind it, as in: isosweep run configs/smoke.cfg");
    CHECK(problem({"rnu", "x.cfg"}) == "unknown command 'rnu': expected one of " +
                                           join(names_of<Verb>(), ", ") + "; did you mean 'run'?");
    CHECK(problem({"run", "/nowhere/x.cfg"}).starts_with("/nowhere/x.cfg: cannot read the config"));
    CHECK(parse_command_line({}).print.starts_with("isosweep measures"));
    CHECK(parse_command_line({"run", "--help"}).print.starts_with("Usage: isosweep run CONFIG"));
}
