#pragma once

#include <string>

#include "tools/report/run_report.h"

namespace apotnet {

/// Which class is taken for which: a table of all pairs where it fits a page, else the most frequent ones. HTML.
std::string confusion_table(const TestReport& test);

/// The most confident mistakes as pictures. HTML.
std::string mistake_pictures(const TestReport& test);

}  // namespace apotnet
