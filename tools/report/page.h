#pragma once

#include <string>
#include <vector>

#include "tools/report/chart.h"
#include "tools/report/run_report.h"

namespace apotnet {

/// Loss, accuracy and learning rate over the epochs, the runs overlaid; of a single run the training curves too.
std::vector<Chart> training_charts(const std::vector<RunReport>& runs);

/// One self-contained HTML page: no script, nothing loaded from elsewhere, all pictures inside.
std::string html_page(const std::vector<RunReport>& runs);
/// The same into a file. Error(cannot_write).
void write_report(const std::vector<RunReport>& runs, const std::string& path);

/// Results and curves for a terminal, lines of at most `columns`.
std::string text_page(const std::vector<RunReport>& runs, int columns);

}  // namespace apotnet
