#pragma once

#include <isosweep/text.h>

#include <string>
#include <utility>

namespace isosweep {

enum class Shell { bash, zsh };
template <>
struct EnumNames<Shell> {
    static constexpr std::pair<Shell, std::string_view> value[] = {{Shell::bash, "bash"},
                                                                   {Shell::zsh, "zsh"}};
};

/// The script that completes this program's command line in a shell: commands, their flags, the
/// values of those that have names, and files. Made from the tables that the command line is read
/// by.
std::string completion_script(Shell shell);

}  // namespace isosweep
