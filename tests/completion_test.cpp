#include "orchestrator/completion.h"

#include <doctest/doctest.h>

#include <regex>
#include <set>
#include <sstream>

#include "orchestrator/help.h"
#include "orchestrator/keys.h"
#include "sandbox.h"

using namespace isosweep;
using namespace isosweep::tests;

namespace {

using Words = std::set<std::string>;

Words words_of(const std::string& text) {
    std::istringstream stream(text);
    Words words;
    for (std::string word; stream >> word;) words.insert(word);
    return words;
}

/// A folder with the scripts, configs and CSVs, and completions asked for in it.
class Shells {
  public:
    Shells() : sandbox_("") {
        for (const char* folder : {"configs", "results", "my sweeps"})
            std::filesystem::create_directory(sandbox_.path(folder));
        for (const char* file : {"configs/a.cfg", "configs/a.txt", "results/a.csv", "y.cfg"})
            write_file(sandbox_.path(file), "");
        write_file(sandbox_.path("bash"), completion_script(Shell::bash));
        write_file(sandbox_.path("zsh"), completion_script(Shell::zsh));
    }

    /// What bash offers for the last of `words`, which stand behind the program's name.
    Words bash(const std::vector<std::string>& words) {
        std::string line = "source ./bash; complete -p isosweep >&2; COMP_WORDS=(isosweep";
        for (const std::string& word : words) line += " " + shell_quoted(word);
        line += "); COMP_CWORD=" + std::to_string(words.size()) +
                "; _isosweep; printf '%s\\n' \"${COMPREPLY[@]}\"";
        const Ran ran = sandbox_.wait(sandbox_.start_program({"/bin/bash", "--norc", "-uc", line}));
        CHECK(ran.err == "complete -o default -F _isosweep isosweep\n");
        return words_of(ran.out);
    }

    /// What zsh is told to offer, by functions in the place of its completion system's.
    std::string zsh(const std::string& program, const std::vector<std::string>& words) {
        std::string line =
            "compdef() { print -u2 -r -- compdef $* }\n"
            "compadd() { shift; print -rl -- $* }\n"
            "_describe() { print -rl -- ${(P)3} }\n"
            "_files() { print -r -- files $* }\n"
            "compset() { [[ ${words[CURRENT]} == ${~2}* ]] }\n"
            "source ./zsh; words=(isosweep";
        for (const std::string& word : words) line += " " + shell_quoted(word);
        line += "); CURRENT=" + std::to_string(words.size() + 1) + "; _isosweep";
        const Ran ran = sandbox_.wait(sandbox_.start_program({program, "-fc", line}));
        CHECK(ran.err == "compdef _isosweep isosweep\n");
        return ran.out;
    }

  private:
    Sandbox sandbox_;
};

}  // namespace

TEST_CASE("every flag that a command's help names is completed, and no other") {
    const std::string script = completion_script(Shell::bash);
    for (const auto& [verb, name] : EnumNames<Verb>::value) {
        if (verb == Verb::completion) continue;
        CAPTURE(std::string(name));
        Words helped = {"--help"};
        const std::string help = help_of(verb);
        const std::regex flag(R"([ \[]--([a-z][-a-z]*)(?![-a-z.]))");
        for (std::sregex_iterator at(help.begin(), help.end(), flag), end; at != end; ++at)
            helped.insert("--" + (*at)[1].str());
        for (const char* other : {"--key", "--localalloc"}) helped.erase(other);  // of examples
        std::smatch branch;
        REQUIRE(std::regex_search(
            script, branch,
            std::regex("\n        " + std::string(name) + R"(\) flags='([^']*)')")));
        CHECK(words_of(branch[1]) == helped);
    }
}

TEST_CASE("bash completes commands, flags, values and files") {
    Shells shells;
    CHECK(shells.bash({"re"}) == Words{"retry", "report"});
    CHECK(shells.bash({"--"}) == Words{"--help", "--version"});
    CHECK(shells.bash({"completion", ""}) == Words{"bash", "zsh"});
    CHECK(shells.bash({"run", "x.cfg", "--kill"}) == Words{"--kill-grace"});
    CHECK(shells.bash({"status", "x.cfg", "--js"}) == Words{"--json"});
    CHECK(shells.bash({"run", "x.cfg", "--js"}) == Words{});
    CHECK(shells.bash({"report", "x.cfg", "--"}) ==
          Words{"--view", "--format", "--output", "--plots", "--help"});
    // Values of axes, of keys, of a command's own flags, behind a '=', and in a list.
    CHECK(shells.bash({"run", "x.cfg", "--pass-type", "forward_"}) == Words{"forward_backward"});
    CHECK(shells.bash({"run", "x.cfg", "--model-sizes", "small", "me"}) == Words{"medium"});
    CHECK(shells.bash({"run", "x.cfg", "--precision", "fp32,t"}) == Words{"fp32,tf32"});
    CHECK(shells.bash({"run", "x.cfg", "--isolation", ""}) == Words{"process", "shared"});
    CHECK(shells.bash({"run", "x.cfg", "--view", ""}) == Words{"cells", "warmup", "phases"});
    CHECK(shells.bash({"report", "x.cfg", "--view", "s"}) == Words{"scaling"});
    CHECK(shells.bash({"run", "x.cfg", "--isolation", "=", "sh"}) == Words{"shared"});
    CHECK(shells.bash({"run", "x.cfg", "--isolation", "="}) == Words{"process", "shared"});
    CHECK(shells.bash({"plan", "x.cfg", "--cuda-graph", "o"}) == Words{"on", "off"});
    CHECK(shells.bash({"retry", "x.cfg", "--status", "crash,oom"}) ==
          Words{"crash,oom_gpu", "crash,oom_host"});
    // A key takes one value, a switch of a command none: another flag comes next.
    CHECK(shells.bash({"run", "x.cfg", "--isolation", "process", ""}).contains("--timeout"));
    CHECK(shells.bash({"status", "x.cfg", "--follow", ""}).contains("--json"));
    // Files; where nothing is offered, bash offers all of them.
    CHECK(shells.bash({"run", ""}) ==
          Words{"configs", "results", "my", "sweeps", "x.cfg", "y.cfg"});
    CHECK(shells.bash({"run", "configs/"}) == Words{"configs/a.cfg"});
    CHECK(shells.bash({"report", "results/"}) == Words{"results/a.csv"});
    CHECK(shells.bash({"compare", "results/a.csv", "results/"}) == Words{"results/a.csv"});
    CHECK(shells.bash({"compare", "results/a.csv", "results/a.csv", "results/"}) == Words{});
    CHECK(shells.bash({"compare", "a.csv", "b.csv", "--format", "j"}) == Words{"json"});
    CHECK(shells.bash({"merge", "results/a.csv", "results/"}) == Words{"results/a.csv"});
    CHECK(shells.bash({"run", "x.cfg", "--output", "res"}) == Words{});
    CHECK(shells.bash({"merge", "-o", "c"}) == Words{});
    CHECK(shells.bash({"merge", "-o", "c.csv", "results/"}) == Words{"results/a.csv"});
    CHECK(shells.bash({"merge", "--allow-mixed", "results/"}) == Words{"results/a.csv"});
}

TEST_CASE("zsh completes commands, flags, values and files") {
    std::string program;
    for (const char* place : {"/bin/zsh", "/usr/bin/zsh", "/usr/local/bin/zsh"})
        if (std::filesystem::exists(place)) program = place;
    if (const char* const given = std::getenv("ISOSWEEP_TEST_ZSH")) program = given;
    if (program.empty()) {
        MESSAGE("left out: there is no zsh here; ISOSWEEP_TEST_ZSH can name one");
        return;
    }
    Shells shells;
    const auto offered = [&](const std::vector<std::string>& words) {
        return shells.zsh(program, words);
    };
    CHECK(contains(offered({"re"}), "run\nretry\nplan\nstatus\n"));
    CHECK(contains(offered({"run", "x.cfg", "--"}), "--jobs:workers at a time on CPU"));
    CHECK(contains(offered({"run", "x.cfg", "--"}), "as in 'numactl --localalloc'\n"));
    CHECK(offered({"run", "x.cfg", "--pass-type", ""}) ==
          "forward\nforward_backward\ntrain_step\n");
    CHECK(offered({"run", "x.cfg", "--isolation=sh"}) == "process\nshared\n");
    CHECK(offered({"run", "x.cfg", "--model-sizes", "small", "me"}) ==
          offered({"run", "x.cfg", "--model-size", ""}));
    CHECK(contains(offered({"run", "x.cfg", "--isolation", "process", ""}), "--timeout:"));
    CHECK(contains(offered({"run", "x.cfg", "--isolation=process", ""}), "--timeout:"));
    CHECK(contains(offered({"status", "x.cfg", "--follow", ""}), "--json:as one JSON object"));
    CHECK(offered({"report", ""}) == "files -g *.(cfg|csv)(-.)\n");
    CHECK(offered({"compare", "a.csv", ""}) == "files -g *.(cfg|csv)(-.)\n");
    CHECK(offered({"compare", "a.csv", "b.csv", ""}) == "");
    CHECK(offered({"merge", "a.csv", ""}) == "files -g *.(csv)(-.)\n");
    CHECK(offered({"merge", "-o", "c.csv", ""}) == "files -g *.(csv)(-.)\n");
    CHECK(offered({"merge", "--allow-mixed", ""}) == "files -g *.(csv)(-.)\n");
    CHECK(offered({"merge", "--prefer", ""}) == "ok\nfirst\nlast\nnewest\n");
    CHECK(offered({"run", "x.cfg", "--output", ""}) == "files\n");
    CHECK(offered({"completion", ""}) == "bash\nzsh\n");
}

TEST_CASE("a shell that nobody knows is named") {
    Sandbox sandbox("");
    const Ran ran = sandbox.run({"completion", "fish"});
    CHECK(ran.exit_code == 2);
    CHECK(ran.err ==
          "isosweep: completion needs the name of a shell: isosweep completion bash, or isosweep "
          "completion zsh\n");
    CHECK(sandbox.run({"completion", "bash"}).out == completion_script(Shell::bash));
}

TEST_CASE("--version names what the program was built with and uses") {
    Sandbox sandbox("");
    const std::string text = sandbox.run({"--version"}).out;
    CHECK(text.starts_with("isosweep 0."));
    for (const char* part : {"\nBoost 1.", ", spdlog 1.", ", fmt ", ", CSV Parser 5.",
                             "\ncompiler ", ", glibc 2.", "gnuplot", "\nno NVIDIA driver\n"})
        CHECK_MESSAGE(contains(text, part), part);
    sandbox.use_fake_gpu();
    CHECK(contains(sandbox.run({"--version"}).out, "\nNVIDIA driver "));
}
