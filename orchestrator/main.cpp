// isosweep: parse, plan, run, report. Everything that can go wrong ends in the one catch below.

#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "orchestrator/commands.h"
#include "orchestrator/errors.h"
#include "orchestrator/files.h"
#include "orchestrator/options.h"

namespace {

int run_command(const std::vector<std::string>& arguments) {
    using namespace isosweep;
    const Command command = parse_command_line({arguments.begin() + 1, arguments.end()});
    if (!command.print.empty()) {
        std::fputs(command.print.c_str(), stdout);
        return 0;
    }
    switch (command.verb) {
        case Verb::run:
        case Verb::shard:
        case Verb::retry:
            return run_sweep(command, arguments);
        case Verb::plan:
            return print_plan(command);
        case Verb::status:
            return print_status(command);
        case Verb::report:
            return print_report(command);
        case Verb::merge:
            return merge(command);
        case Verb::completion:
            break;  // it is all print
        case Verb::compare:
            return print_comparison(command);
    }
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    isosweep::reserve_standard_descriptors();
    ::signal(SIGPIPE, SIG_IGN);  // a reader that went away must not end a sweep
    ::signal(SIGCHLD, SIG_DFL);  // where it is inherited as ignored, no child could be waited for
    try {
        return run_command({argv, argv + argc});
    } catch (const isosweep::Failure& failure) {
        std::fprintf(stderr, "isosweep: %s\n", failure.what());
        return failure.exit_code();
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "isosweep: unexpected: %s\n", problem.what());
        return 5;
    }
}
