#include "tools/report/layer_figures.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "tools/fixed.h"
#include "tools/report/chart.h"
#include "tools/report/png.h"

namespace apotnet {
namespace {

// Of the small drawings of a card.
constexpr double kWidth = 260, kCurveHeight = 62, kBarHeight = 54;
constexpr int64_t kLabelledKernels = 8, kMostLabelledSide = 3;
constexpr int64_t kMostPicturedWeights = 1 << 16;  // of a layer

struct Threshold {
  double epoch, weight, activation;
};

std::vector<Threshold> thresholds_of(const RunMetrics& metrics, const std::string& name) {
  std::vector<Threshold> found;
  for (const EpochMetrics& epoch : metrics.epochs)
    for (const LayerStatistics& layer : epoch.layers)
      if (layer.name == name)
        found.push_back({static_cast<double>(epoch.run_epoch), layer.weight.alpha, layer.activation.alpha});
  return found;
}

// Both thresholds of a layer over the epochs; the axes begin at 0 and end at `most` in every card.
std::string threshold_curves(const std::vector<Threshold>& thresholds, double most) {
  constexpr double kLabels = 56, kLabelHeight = 12;
  const double first = thresholds.front().epoch, last = std::max(thresholds.back().epoch, first + 1);
  const auto top_of = [&](double alpha) { return 4 + (1 - alpha / most) * (kCurveHeight - 8); };
  const auto curve = [&](double Threshold::*alpha, const char* color, double label_top) {
    std::string d;
    for (const Threshold& t : thresholds)
      d += text(d.empty() ? "M" : "L", fixed((t.epoch - first) / (last - first) * (kWidth - kLabels - 4), 1), " ",
                fixed(top_of(t.*alpha), 1));
    return text("<g class='line ", color, "'><path d='", d, "'/></g><text class='value ", color,
                "' x=", kWidth - kLabels, " y=", fixed(label_top, 1), " dy=.35em>", fixed(thresholds.back().*alpha, 2),
                "</text>");
  };
  // Labels that would lie on each other are moved apart.
  double weight_top = top_of(thresholds.back().weight), activation_top = top_of(thresholds.back().activation);
  if (const double gap = activation_top - weight_top; std::abs(gap) < kLabelHeight) {
    const double apart = (gap < 0 ? -kLabelHeight : kLabelHeight) / 2, middle = weight_top + gap / 2;
    weight_top = middle - apart;
    activation_top = middle + apart;
  }
  return text("<svg viewBox='0 0 ", kWidth, " ", kCurveHeight, "' role=img aria-label='thresholds over the epochs'>",
              "<path class=grid d='M0 ", kCurveHeight - 4, "H", kWidth - kLabels - 4, "'/>",
              curve(&Threshold::weight, "run0", weight_top), curve(&Threshold::activation, "run1", activation_top),
              "</svg>");
}

// A bar at each level, as high as the square root of its share; a cross where no value takes the level.
std::string level_bars(const std::vector<int64_t>& occupancy, const LevelSet& levels, const char* color) {
  double all = 0, largest = 1;
  for (const int64_t count : occupancy)
    all += static_cast<double>(count), largest = std::max(largest, static_cast<double>(count));
  const double spacing = (kWidth - 12) / static_cast<double>(levels.k()), width = std::clamp(0.7 * spacing, 1.5, 9.0);
  std::string out = text("<svg viewBox='0 0 ", kWidth, " ", kBarHeight, "' role=img aria-label='values per level'>",
                         "<path class=grid d='M0 ", kBarHeight - 8, "H", kWidth, "'/>");
  for (size_t i = 0; i < occupancy.size(); ++i) {
    const double x = 6 + spacing * static_cast<double>(levels.codes()[i]);
    const double count = static_cast<double>(occupancy[i]), height = std::sqrt(count / largest) * (kBarHeight - 12);
    const std::string title = text("<title>level ", levels.codes()[i], "/", levels.k(), " = ", levels.sum_of_powers(i),
                                   ": ", fixed(100 * count / std::max(all, 1.0), 2), " %</title>");
    if (occupancy[i] > 0)
      out += text("<rect class='bar ", color, "' x=", fixed(x - width / 2, 1), " y=", fixed(kBarHeight - 8 - height, 1),
                  " width=", fixed(width, 1), " height=", fixed(height, 1), ">", title, "</rect>");
    else
      out += text("<path class=dead d='M", fixed(x - 3, 1), " ", kBarHeight - 6, "l6 6m0 -6l-6 6'>", title, "</path>");
  }
  return out + "</svg>";
}

std::string described(const char* what, const QuantizerStatistics& statistics) {
  const auto dead = std::ranges::count(statistics.occupancy, 0);
  const std::string ratio = std::isfinite(statistics.sqnr_db) ? fixed(statistics.sqnr_db, 1) + " dB" : "no error";
  return text("<p>", what, ": ", fixed(100 * statistics.clipped, 1), " % clipped, ", ratio,
              dead > 0 ? text(", <span class=bad>", dead, dead == 1 ? " dead level" : " dead levels", "</span>") : "",
              "</p>");
}

// Each weight one pixel, kernels [I] down and [O] across with a pixel between them: blue below zero, orange above, the
// stronger the larger.
std::string weight_picture(const LayerWeights& layer) {
  const int64_t kh = layer.shape[1], kw = layer.shape[2], in = layer.shape[3];
  const int64_t out = std::clamp<int64_t>(kMostPicturedWeights / (kh * kw * in), 1, layer.shape[0]);
  const auto levels = layer.levels->codes();
  const auto magnitudes = static_cast<int64_t>(levels.size());
  std::vector<PngColor> palette{{0, 0, 0, 0}};  // 0: between kernels; then the levels from the lowest to the highest
  for (int64_t i = 1 - magnitudes; i < magnitudes; ++i) {
    const double level =
        static_cast<double>(levels[static_cast<size_t>(std::abs(i))]) / static_cast<double>(layer.levels->k());
    const auto opacity = static_cast<uint8_t>(i == 0 ? 30 : 70 + std::lround(185 * level));
    palette.push_back(i < 0   ? PngColor{31, 111, 181, opacity}
                      : i > 0 ? PngColor{214, 95, 30, opacity}
                              : PngColor{128, 128, 128, opacity});
  }
  const int64_t height = in * (kh + 1) - 1, width = out * (kw + 1) - 1;
  std::vector<uint8_t> pixels(static_cast<size_t>(height * width));
  for (int64_t o = 0, at = 0; o < out; ++o)
    for (int64_t y = 0; y < kh; ++y)
      for (int64_t x = 0; x < kw; ++x)
        for (int64_t i = 0; i < in; ++i, ++at) {
          const int code = layer.codes[static_cast<size_t>(at)];
          const auto level = std::ranges::lower_bound(levels, std::abs(code)) - levels.begin();
          pixels[static_cast<size_t>((i * (kh + 1) + y) * width + o * (kw + 1) + x)] =
              static_cast<uint8_t>(magnitudes + (code < 0 ? -level : level));
        }
  const int64_t scale = std::max<int64_t>(1, static_cast<int64_t>(kWidth) / width);
  return text(
      "<img class=weights width=", width * scale, " height=", height * scale, " loading=lazy alt='weights of ",
      escaped(layer.name), "' src='", data_uri_of_png(png_of_palette(height, width, pixels, palette)), "'>",
      out < layer.shape[0] ? text("<p class=note>the first ", out, " of ", layer.shape[0], " outputs</p>") : "");
}

const EpochMetrics* last_with_layers(const RunMetrics& metrics) {
  for (auto epoch = metrics.epochs.rbegin(); epoch != metrics.epochs.rend(); ++epoch)
    if (!epoch->layers.empty()) return &*epoch;
  return nullptr;
}

const StageConfig* stage_named(const RunReport& report, const std::string& name) {
  for (const StageReport& stage : report.stages)
    if (stage.config.name == name) return &stage.config;
  return nullptr;
}

// A file may have been written by hand; a histogram of another length than its level set is left out.
std::string histogram(const char* what, const QuantizerStatistics& statistics, const LevelSet& levels,
                      const char* color) {
  if (statistics.occupancy.size() != levels.codes().size()) return "";
  return described(what, statistics) + level_bars(statistics.occupancy, levels, color);
}

std::string card(const LayerStatistics& layer, const RunReport& report, const StageConfig& stage, double most) {
  const auto weights = std::ranges::find(report.weights, layer.name, &LayerWeights::name);
  std::string out = "<article><h3>" + escaped(layer.name);
  if (weights != report.weights.end()) out += " <small>" + text(weights->shape) + "</small>";
  out += "</h3>" + threshold_curves(thresholds_of(report.metrics, layer.name), most) +
         histogram("weights", layer.weight, weight_levels(report, stage), "run0") +
         histogram("inputs", layer.activation, activation_levels(report, stage, layer.activation.occupancy.size()),
                   "run1");
  if (weights != report.weights.end()) out += weight_picture(*weights);
  return out + "</article>\n";
}

// "2^-1 + 2^-4" as people write it, the signs of a negative weight turned.
std::string written_power_sum(const std::string& sum, bool negative) {
  static const char* const kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = negative ? "−" : "";
  bool raised = false;
  for (const char c : sum) {
    if (c == '^')
      raised = true;
    else if (c == ' ')
      raised = false;
    else if (raised && c == '-')
      out += "⁻";
    else if (raised && c >= '0' && c <= '9')
      out += kDigits[c - '0'];
    else
      out += c == '+' && negative ? "−" : std::string(1, c);
  }
  return out;
}

std::string label_of(int code, const LevelSet& levels) {
  if (levels.method() == LevelMethod::uniform || levels.method() == LevelMethod::ternary)
    return text(code < 0 ? "−" : "", std::abs(code), levels.k() > 1 && code != 0 ? text("/", levels.k()) : "");
  const auto level =
      static_cast<size_t>(std::ranges::lower_bound(levels.codes(), std::abs(code)) - levels.codes().begin());
  return written_power_sum(levels.sum_of_powers(level), code < 0);
}

std::string kernel_drawing(const LayerWeights& layer, int64_t o, int64_t i) {
  const int64_t kh = layer.shape[1], kw = layer.shape[2], in = layer.shape[3];
  constexpr int kCellWidth = 84, kCellHeight = 30;
  std::string out = text("<figure class=kernel><svg viewBox='0 0 ", kCellWidth * kw, " ", kCellHeight * kh,
                         "' role=img aria-label='a kernel'>");
  for (int64_t y = 0; y < kh; ++y)
    for (int64_t x = 0; x < kw; ++x) {
      const int code = layer.codes[static_cast<size_t>(((o * kh + y) * kw + x) * in + i)];
      const double level = std::abs(code) / static_cast<double>(layer.levels->k());
      out += text("<rect x=", x * kCellWidth, " y=", y * kCellHeight, " width=", kCellWidth, " height=", kCellHeight,
                  " class=", code < 0 ? "negative" : "positive", " fill-opacity=", fixed(0.75 * level, 2),
                  " /><text class=middle x=", x * kCellWidth + kCellWidth / 2,
                  " y=", y * kCellHeight + kCellHeight / 2 + 4, ">", label_of(code, *layer.levels), "</text>");
    }
  return out + text("</svg><figcaption><small>output ", o, ", input ", i, "</small></figcaption></figure>");
}

}  // namespace

std::string layer_cards(const RunReport& report) {
  const EpochMetrics* epoch = last_with_layers(report.metrics);
  const StageConfig* stage = epoch ? stage_named(report, epoch->stage) : nullptr;
  if (!stage) return "";
  double most = 0;
  for (const EpochMetrics& any : report.metrics.epochs)
    for (const LayerStatistics& layer : any.layers) most = std::max({most, layer.weight.alpha, layer.activation.alpha});
  std::string out = "<div class=cards>\n";
  for (const LayerStatistics& layer : epoch->layers) out += card(layer, report, *stage, most);
  return out + "</div>\n";
}

std::string labelled_kernels(const RunReport& report) {
  for (const LayerWeights& layer : report.weights) {
    const auto sides = {layer.shape[1], layer.shape[2]};
    if (std::max(sides) > kMostLabelledSide || std::max(sides) == 1) continue;
    std::string out = "<p class=note>" + escaped(layer.name) + ", the first kernels</p><div class=cards>";
    const int64_t in = layer.shape[3], all = layer.shape[0] * in;
    for (int64_t kernel = 0; kernel < std::min(all, kLabelledKernels); ++kernel)
      out += kernel_drawing(layer, kernel / std::min<int64_t>(in, 4), kernel % std::min<int64_t>(in, 4));
    return out + "</div>\n";
  }
  return "";
}

}  // namespace apotnet
