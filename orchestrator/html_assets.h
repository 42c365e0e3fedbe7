#pragma once

#include <string_view>

namespace isosweep {

/// The style sheet and the script of an HTML report: the texts of html_report.css and
/// html_report.js.
extern const std::string_view html_report_style;
extern const std::string_view html_report_script;

}  // namespace isosweep
