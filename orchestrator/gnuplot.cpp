#include "orchestrator/gnuplot.h"

#include <fcntl.h>
#include <isosweep/text.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "orchestrator/errors.h"
#include "orchestrator/files.h"
#include "orchestrator/html.h"
#include "orchestrator/process.h"

namespace isosweep {
namespace fs = std::filesystem;
namespace {

/// A folder for gnuplot's files, gone with the object.
class ScratchFolder {
  public:
    ScratchFolder() {
        std::string name = (fs::temp_directory_path() / "isosweep-plots-XXXXXX").string();
        if (!::mkdtemp(name.data()))
            throw ResultsError(name + ": cannot be made for the plots: " + std::strerror(errno) +
                               "; let TMPDIR name a folder with room");
        path_ = name;
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    ~ScratchFolder() {
        std::error_code ignored;  // what stays behind hurts nobody
        fs::remove_all(path_, ignored);
    }

    fs::path operator/(const std::string& name) const { return path_ / name; }
    const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

/// Runs gnuplot on a script in a folder, its talk in messages.txt there. \throws EnvironmentError
void run_gnuplot(const std::string& program, const ScratchFolder& folder) {
    const std::string messages = folder / "messages.txt";
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addchdir_np(&actions, folder.path().c_str());
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, messages.c_str(), O_CREAT | O_WRONLY, 0600);
    // Without the user's ~/.gnuplot.
    std::array<std::string, 3> words = {program, "-d", "plots.gp"};
    const std::array<char*, 4> argv = {words[0].data(), words[1].data(), words[2].data(), nullptr};
    pid_t pid = -1;
    const int problem =
        ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (problem != 0)
        throw EnvironmentError(program +
                               ": cannot be started for the plots: " + std::strerror(problem));
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    const std::string how = WIFSIGNALED(status)
                                ? signal_name(WTERMSIG(status))
                                : "exit code " + std::to_string(WEXITSTATUS(status));
    throw EnvironmentError(program + ": failed with " + how + ": " +
                           one_line(read_file(messages), 300));
}

/// One plot into one file. \param terminal with its options but the size
std::string drawing(const Plot& plot, const std::string& terminal, const std::string& ending,
                    int scale) {
    return "reset\nset terminal " + terminal + " noenhanced size " +
           std::to_string(scale * plot.width) + "," + std::to_string(scale * plot.height) +
           "\nset output '" + plot.name + ending + "'\n" + plot.commands + "set output\n";
}

std::string script_for(const std::vector<Plot>& plots, PlotFiles files) {
    std::string script = "set encoding utf8\n";
    for (const Plot& plot : plots) script += drawing(plot, "svg dynamic font 'sans,13'", ".svg", 1);
    if (files == PlotFiles::svg) return script;
    script += "if (strstrt(GPVAL_TERMINALS, 'pngcairo') == 0) exit\n";
    for (const Plot& plot : plots)
        script += drawing(plot,
                          "pngcairo font 'sans,13' fontscale 1.54 linewidth 2 pointscale 2 "
                          "background rgb '#ffffff'",
                          ".png", 2);
    return script;
}

void replace_text(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

/// What stands from `open` to `close`, both included, taken out wherever it is.
void remove_between(std::string& text, std::string_view open, std::string_view close) {
    for (std::size_t at = 0; (at = text.find(open, at)) != std::string::npos;) {
        const std::size_t end = text.find(close, at);
        if (end == std::string::npos) return;
        text.erase(at, end + close.size() - at);
    }
}

/// The colour that begins behind "rgb(", as "#0072b2", and how long it is, its end included;
/// nothing where none does.
std::pair<std::string, std::size_t> hex_color(std::string_view text) {
    std::string hex = "#";
    std::size_t at = 0;
    for (const char end : {',', ',', ')'}) {
        at = std::min(text.find_first_not_of(' ', at), text.size());
        unsigned value = 0;
        const auto [stop, problem] =
            std::from_chars(text.data() + at, text.data() + text.size(), value);
        at = static_cast<std::size_t>(stop - text.data());
        if (problem != std::errc{} || value > 255 || at == text.size() || text[at] != end)
            return {};
        constexpr std::string_view digits = "0123456789abcdef";
        hex += digits[value / 16];
        hex += digits[value % 16];
        ++at;
    }
    return {hex, at};
}

/// Writes "rgb(  0, 114, 178)" as "#0072b2": gnuplot has the blanks or not, and a style sheet finds
/// one form more easily than two.
void write_colors_as_hex(std::string& svg) {
    constexpr std::string_view open = "rgb(";
    for (std::size_t at = 0; (at = svg.find(open, at)) != std::string::npos;) {
        const auto [hex, length] = hex_color(std::string_view(svg).substr(at + open.size()));
        if (length > 0) svg.replace(at, open.size() + length, hex);
        at += length > 0 ? hex.size() : open.size();
    }
}

/// What makes gnuplot's SVG one of ours: it says what it shows, and its style sheet can find every
/// colour.
std::string finished_svg(std::string svg, const Plot& plot) {
    write_colors_as_hex(svg);
    replace_text(svg, "'black'", "'" + std::string(ink_color.light) + "'");
    replace_text(svg, "\"black\"", "\"" + std::string(ink_color.light) + "\"");
    replace_text(svg, "\"sans\"", "\"system-ui, sans-serif\"");
    remove_between(svg, "<title>", "</title>");
    remove_between(svg, "<desc>", "</desc>");
    replace_text(svg, "\n\n", "\n");
    const std::size_t root = svg.find("<svg");
    const std::size_t content = svg.find('>', root) + 1;
    const std::string titled = "\n<title>" + escape_html(plot.title) + "</title>\n<desc>" +
                               escape_html(plot.description) + "</desc>\n<style>" + plot_style() +
                               "</style>";
    svg.insert(content, titled);
    return svg.insert(root + 4, " class=\"plot\" role=\"img\"");
}

}  // namespace

std::string gnuplot_text(std::string_view text, std::size_t limit) {
    std::string quoted = "'";
    for (const char c : one_line(text, limit)) quoted += c == '\'' ? "''" : std::string(1, c);
    return quoted + "'";
}

std::string gnuplot_color(const PlotColor& color) {
    return "rgb '" + std::string(color.light) + "'";
}

std::vector<DrawnPlot> draw(const std::vector<Plot>& plots, PlotFiles files) {
    if (plots.empty()) return {};
    const std::string program = find_program("gnuplot");
    if (program.empty())
        throw EnvironmentError(
            "gnuplot is missing, which draws the plots: apt-get install gnuplot-nox");
    const ScratchFolder folder;
    write_atomically(folder / "plots.gp", script_for(plots, files));
    run_gnuplot(program, folder);
    std::vector<DrawnPlot> drawn;
    for (const Plot& plot : plots) {
        drawn.push_back({finished_svg(read_file(folder / (plot.name + ".svg")), plot), {}});
        if (const fs::path png = folder / (plot.name + ".png"); fs::exists(png))
            drawn.back().png = read_file(png);
    }
    return drawn;
}

std::string plot_style() {
    std::vector<PlotColor> colors(series_colors.begin(), series_colors.end());
    colors.insert(colors.end(), {ink_color, faint_color, grid_color, on_color_text});
    std::string style = "@media screen and (prefers-color-scheme:dark){";
    for (const PlotColor& color : colors)
        for (const char* const property : {"stroke", "fill", "color"})
            style += ".plot [" + std::string(property) + "=\"" + std::string(color.light) + "\"]{" +
                     property + ":" + std::string(color.dark) + "}";
    return style + "}";
}

std::string inline_svg(const Plot& plot, const DrawnPlot& drawn) {
    std::string svg = drawn.svg.substr(drawn.svg.find("<svg"));
    remove_between(svg, "<style>", "</style>");
    for (const std::string mark : {"id='", "id=\"", "'#", "url(#"})
        for (const std::string_view name : {"gp", "gnuplot", "textbox", "greybox"})
            replace_text(svg, mark + std::string(name), mark + plot.name + "_" + std::string(name));
    return svg.insert(4,
                      " aria-label=\"" + escape_html(plot.title + ". " + plot.description) + "\"");
}

}  // namespace isosweep
