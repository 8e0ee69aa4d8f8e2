#pragma once

#include <string>
#include <utility>
#include <vector>

namespace apotnet {

/// A line of a chart. `run` chooses its color (and its letter in text), `dashed` and `dots` its style.
struct Series {
  std::string name;
  size_t run = 0;
  bool dashed = false, dots = false;
  std::vector<std::pair<double, double>> points{};  ///< x ascending; points that are not finite are left out
};

/// Curves over the epochs of a run.
struct Chart {
  std::string title, unit;  ///< of y
  std::vector<Series> series;
  std::vector<double> stage_ends;  ///< x of lines between stages
};

/// As SVG, wide as its column, with a legend; colors are those of the page (style.h), which follow light and dark mode.
std::string svg(const Chart& chart);

/// The same in characters for a terminal, at most `columns` wide.
std::string plain_text(const Chart& chart, int columns);

/// Round numbers that cut [low, high] into about `count` parts, the first at or below low and the last at or above
/// high.
std::vector<double> ticks(double low, double high, int count);

/// `text` with what HTML would take for markup replaced.
std::string escaped(const std::string& text);

}  // namespace apotnet
