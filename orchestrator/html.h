#pragma once

#include <string>

namespace isosweep {

/// A text as a part of an HTML page or of SVG, where nothing in it is markup: between tags as well
/// as within double quotes.
std::string escape_html(const std::string& text);

}  // namespace isosweep
