#pragma once

namespace apotnet {

/// The style sheet of a report: readable in a column of a phone, in dark mode and on paper. Charts take their colors
/// from it: .run0 to .run7 for runs, .line, .dots, .dashed for series.
extern const char* const kReportStyle;

}  // namespace apotnet
