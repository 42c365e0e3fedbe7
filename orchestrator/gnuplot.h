#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace isosweep {

/// A colour as "#rrggbb" on a white page and on a dark one.
struct PlotColor {
    std::string_view light;
    std::string_view dark;
};

/// Colours of curves that the colour-blind can tell apart (Okabe and Ito 2008, without the yellow,
/// which is lost on white).
inline constexpr std::array<PlotColor, 7> series_colors = {{{"#0072b2", "#5ab4f0"},
                                                            {"#d55e00", "#ff9150"},
                                                            {"#009e73", "#35cda2"},
                                                            {"#cc79a7", "#e9a6c9"},
                                                            {"#e69f00", "#f5c04a"},
                                                            {"#56b4e9", "#a5dcff"},
                                                            {"#5f5f5f", "#b9b9b9"}}};
inline constexpr PlotColor ink_color = {"#1b1f24", "#e6e9ed"};      ///< texts
inline constexpr PlotColor faint_color = {"#8a9099", "#8f97a3"};    ///< axes, marks in the back
inline constexpr PlotColor grid_color = {"#dfe2e6", "#373d45"};     ///< grid lines
inline constexpr PlotColor on_color_text = {"#fefefe", "#101418"};  ///< texts upon a filled area

/// A plot: what gnuplot draws, and what is said of it.
struct Plot {
    std::string name;         ///< of its files, without an ending: "step_time_forward"
    std::string title;        ///< "Step time: forward"
    std::string caption;      ///< what is drawn and how to read it
    std::string description;  ///< what is to be seen, in words with figures: alternative text
    int width = 640;          ///< of its box, in CSS pixels
    int height = 400;
    std::string commands;  ///< gnuplot's, behind those that choose terminal and output
};

/// A plot as files.
struct DrawnPlot {
    std::string svg;  ///< a whole document
    std::string png;  ///< twice as many pixels; empty where not asked for, or gnuplot cannot
};

enum class PlotFiles { svg, svg_and_png };

/// A text as a word of gnuplot's: quoted, on one line, cut to `limit` bytes. Nothing in it is a
/// command.
std::string gnuplot_text(std::string_view text, std::size_t limit = 60);

/// "rgb '#0072b2'" for `light`, as gnuplot takes a colour.
std::string gnuplot_color(const PlotColor& color);

/// Draws all plots with one gnuplot. The SVGs have a transparent ground, say in a title and a
/// description what they show, and are light or dark as the viewer wishes.
/// \throws EnvironmentError where gnuplot is missing or fails, ResultsError where it cannot write
std::vector<DrawnPlot> draw(const std::vector<Plot>& plots, PlotFiles files);

/// The style sheet by which a drawn SVG turns dark; each has it in itself, too.
std::string plot_style();

/// A drawn SVG as a part of an HTML page that has `plot_style` once: without the document's head
/// and its own style, its ids made its own.
std::string inline_svg(const Plot& plot, const DrawnPlot& drawn);

}  // namespace isosweep
