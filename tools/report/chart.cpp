#include "tools/report/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "tools/fixed.h"

namespace apotnet {
namespace {

// Of the drawing, in its own units: a column is about as many pixels wide, so letters keep their size.
constexpr double kWidth = 400, kHeight = 230, kLeft = 46, kRight = 12, kTop = 10, kBottom = 32;
constexpr int kTextRows = 14;

struct Bounds {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void take(double value) { low = std::min(low, value), high = std::max(high, value); }
};

// Of a chart: where its points lie, and round numbers around the values.
struct Frame {
  Bounds x, y;
  std::vector<double> y_ticks;
  bool empty = true;

  explicit Frame(const Chart& chart) {
    for (const Series& series : chart.series)
      for (const auto& [px, py] : series.points)
        if (std::isfinite(py)) x.take(px), y.take(py), empty = false;
    if (empty) return;
    if (x.low == x.high) x.low -= 0.5, x.high += 0.5;
    y_ticks = ticks(y.low, y.high, 5);
    y = {y_ticks.front(), y_ticks.back()};
  }
  // 0 to 1 from left to right, and from the bottom to the top.
  double across(double value) const { return (value - x.low) / (x.high - x.low); }
  double up(double value) const { return (value - y.low) / (y.high - y.low); }
};

int decimals_of(const std::vector<double>& y_ticks) {
  const double step = y_ticks[1] - y_ticks[0];
  return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 8);
}

double left_of(const Frame& frame, double x) { return kLeft + frame.across(x) * (kWidth - kLeft - kRight); }
double top_of(const Frame& frame, double y) { return kTop + (1 - frame.up(y)) * (kHeight - kTop - kBottom); }

std::string axes(const Chart& chart, const Frame& frame) {
  std::string out;
  const int decimals = decimals_of(frame.y_ticks);
  for (const double tick : frame.y_ticks) {
    const std::string y = fixed(top_of(frame, tick), 1);
    out += text("<path class=grid d='M", kLeft, " ", y, "H", kWidth - kRight, "'/><text class=end x=", kLeft - 6,
                " y=", y, " dy=.32em>", fixed(tick, decimals), "</text>");
  }
  for (const double end : chart.stage_ends)
    if (end > frame.x.low && end < frame.x.high)
      out += text("<path class=stage d='M", fixed(left_of(frame, end), 1), " ", kTop, "V", kHeight - kBottom, "'/>");
  for (const double tick : ticks(frame.x.low, frame.x.high, 5))
    if (tick >= frame.x.low && tick <= frame.x.high && tick == std::round(tick))
      out += text("<text class=middle x=", fixed(left_of(frame, tick), 1), " y=", kHeight - kBottom + 15, ">", tick,
                  "</text>");
  return out + text("<text class=middle x=", (kLeft + kWidth - kRight) / 2, " y=", kHeight - 3, ">epoch</text>");
}

std::string line(const Series& series, const Frame& frame) {
  std::string path, dots, last;
  for (const auto& [x, y] : series.points) {
    if (!std::isfinite(y)) continue;
    const std::string left = fixed(left_of(frame, x), 1), top = fixed(top_of(frame, y), 1);
    path += (path.empty() ? "M" : "L") + left + " " + top;
    last = fixed(y, 4);
    if (series.dots || series.points.size() == 1)
      dots += text("<circle cx=", left, " cy=", top, " r=4><title>", escaped(series.name), ", epoch ", x, ": ",
                   fixed(y, 4), "</title></circle>");
  }
  const std::string color = text("run", series.run % 8);
  if (series.dots) return "<g class='dots " + color + "'>" + dots + "</g>";
  return text("<g class='line ", color, series.dashed ? " dashed" : "", "'><path d='", path, "'><title>",
              escaped(series.name), ", at last ", last, "</title></path>", dots, "</g>");
}

std::string legend(const Chart& chart) {
  std::string out = "<ul class=legend>";
  for (const Series& series : chart.series)
    out += text("<li><svg viewBox='0 0 22 10' width=22 height=10 aria-hidden=true><g class='",
                series.dots ? "dots" : "line", " run", series.run % 8, series.dashed ? " dashed" : "", "'>",
                series.dots ? "<circle cx=11 cy=5 r=4 />" : "<path d='M0 5H22'/>", "</g></svg> ", escaped(series.name));
  return out + "</ul>";
}

char letter_of(const Series& series, bool several_runs) {
  if (several_runs) return static_cast<char>(series.run < 9 ? '1' + series.run : '+');
  if (series.dots) return 'O';
  return series.dashed ? '.' : '#';
}

bool has_several_runs(const Chart& chart) {
  return std::ranges::any_of(chart.series, [](const Series& series) { return series.run > 0; });
}

}  // namespace

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low)) high = low + (low == 0 ? 1 : std::abs(low) / 10), low -= high - low;
  const double rough = (high - low) / count, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double factor : {5.0, 2.0, 1.0})
    if (factor * power >= rough * (1 - 1e-9)) step = factor * power;
  std::vector<double> result;
  const double first = std::floor(low / step + 1e-9);
  for (int i = 0; result.empty() || result.back() < high - 1e-9 * step; ++i) result.push_back((first + i) * step);
  return result;
}

std::string svg(const Chart& chart) {
  const Frame frame(chart);
  const std::string title = escaped(chart.title) + (chart.unit.empty() ? "" : ", " + escaped(chart.unit));
  std::string out = "<figure class=chart><figcaption>" + title + "</figcaption>";
  if (frame.empty) return out + "<p class=note>nothing yet</p></figure>";
  out += legend(chart) + text("<svg viewBox='0 0 ", kWidth, " ", kHeight, "' role=img aria-label='", title, "'>") +
         axes(chart, frame);
  for (const Series& series : chart.series) out += line(series, frame);
  return out + "</svg></figure>\n";
}

std::string plain_text(const Chart& chart, int columns) {
  const Frame frame(chart);
  std::string out = chart.title + (chart.unit.empty() ? "" : ", " + chart.unit) + "\n";
  if (frame.empty) return out + "  nothing yet\n";
  constexpr int kMargin = 10;
  const int width = std::max(20, columns - kMargin - 1);
  std::vector<std::string> rows(kTextRows, std::string(static_cast<size_t>(width), ' '));
  const bool several = has_several_runs(chart);
  for (const Series& series : chart.series) {
    if (several && series.dashed) continue;
    for (const auto& [x, y] : series.points)
      if (std::isfinite(y))
        rows[static_cast<size_t>(std::lround((1 - frame.up(y)) * (kTextRows - 1)))]
            [static_cast<size_t>(std::lround(frame.across(x) * (width - 1)))] = letter_of(series, several);
  }
  for (int row = 0; row < kTextRows; ++row) {
    // A label where a round number falls into the row.
    std::string label;
    for (const double tick : frame.y_ticks)
      if (std::lround((1 - frame.up(tick)) * (kTextRows - 1)) == row) label = fixed(tick, decimals_of(frame.y_ticks));
    std::string marks = rows[static_cast<size_t>(row)];
    marks.erase(marks.find_last_not_of(' ') + 1);
    out += std::string(kMargin - 2 - std::min<size_t>(kMargin - 2, label.size()), ' ') + label + " |" + marks + "\n";
  }
  const std::string first = text(std::ceil(frame.x.low)), last = text(std::floor(frame.x.high), " epochs");
  out += std::string(kMargin - 1, ' ') + "+" + std::string(static_cast<size_t>(width), '-') + "\n" +
         std::string(kMargin, ' ') + first +
         std::string(static_cast<size_t>(std::max<int>(1, width - static_cast<int>(first.size() + last.size()))), ' ') +
         last + "\n";
  std::string names;
  for (const Series& series : chart.series)
    if (!several || !series.dashed)
      names += std::string(names.empty() ? "" : ", ") + letter_of(series, several) + " " + series.name;
  return out + std::string(kMargin, ' ') + names + "\n";
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

}  // namespace apotnet
