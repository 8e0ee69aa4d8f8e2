#include "deploy/thresholds.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/base/error.h"
#include "core/quant/level_set.h"

namespace apotnet {
namespace {

constexpr int32_t kNever = std::numeric_limits<int32_t>::max();

// Codes of sums [rows][channels].
std::vector<uint8_t> codes_of(const std::vector<int64_t>& sums, int64_t channels, float step,
                              const EvaluateCodes& evaluate) {
  Tensor y({static_cast<int64_t>(sums.size()) / channels, 1, 1, channels}, DType::f32);
  std::ranges::transform(sums, y.data<float>().begin(), [step](int64_t sum) { return static_cast<float>(sum) * step; });
  const Tensor codes = evaluate(y);
  return {codes.data<uint8_t>().begin(), codes.data<uint8_t>().end()};
}

// For each level above the first, the first half step that has it.
std::vector<int64_t> half_steps_of(const LevelSet& levels) {
  std::vector<int64_t> first;
  for (int64_t m = 0; m <= 2 * levels.k(); ++m)
    if (const int64_t code = levels.code_of_half_step(m);
        code > 0 && (first.empty() || code > levels.code_of_half_step(m - 1)))
      first.push_back(m);
  return first;
}

// Whether the line in float32 has the channel's codes: at its thresholds, just below them, and at the ends.
bool agrees(const Thresholds& t, int64_t channel, const SumRange& range, const std::vector<int64_t>& half_steps,
            float factor, float offset) {
  const auto count = static_cast<int64_t>(half_steps.size());
  for (int64_t j = 0; j < count; ++j) {
    const int32_t threshold = t.values[static_cast<size_t>(channel * count + j)];
    const bool rising = t.rising[static_cast<size_t>(channel)] != 0;
    const auto wanted = static_cast<float>(half_steps[static_cast<size_t>(rising ? j : count - 1 - j)]);
    const auto reaches = [&](int64_t sum) { return std::fma(static_cast<float>(sum), factor, offset) >= wanted; };
    // Rising: reached from the threshold on; falling: reached until just below it.
    if (threshold != kNever && reaches(threshold) != rising) return false;
    if (threshold != range.lowest && reaches(threshold == kNever ? range.highest : threshold - int64_t{1}) == rising)
      return false;
  }
  return true;
}

// Sums are exact in float32 below 2^24; a line needs them to be.
std::optional<Line> fit_line(const Thresholds& t, int64_t channel, const SumRange& range,
                             const std::vector<int64_t>& half_steps, const Line& line) {
  if (std::max(-int64_t{range.lowest}, int64_t{range.highest}) >= (1 << 24)) return {};
  const auto factor = static_cast<float>(line.factor);
  for (const double nudge : {0.0, 1e-7, -1e-7, 1e-6, -1e-6, 1e-5, -1e-5, 1e-4, -1e-4}) {
    const auto offset = static_cast<float>(line.offset + nudge * static_cast<double>(half_steps.back()));
    if (agrees(t, channel, range, half_steps, factor, offset)) return Line{factor, offset};
  }
  return {};
}

void add_lines(Thresholds& t, const std::vector<SumRange>& ranges, const LevelSet& levels,
               const std::vector<Line>& lines) {
  const std::vector<int64_t> half_steps = half_steps_of(levels);
  std::vector<float> factor(static_cast<size_t>(t.padded_channels)), offset(factor.size());
  for (size_t c = 0; c < ranges.size(); ++c) {
    const auto line = fit_line(t, static_cast<int64_t>(c), ranges[c], half_steps, lines[c]);
    if (!line) return;
    factor[c] = static_cast<float>(line->factor);
    offset[c] = static_cast<float>(line->offset);
  }
  t.factor = std::move(factor);
  t.offset = std::move(offset);
}

}  // namespace

Thresholds find_thresholds(const std::vector<SumRange>& ranges, float step, const LevelSet& levels,
                           const EvaluateCodes& evaluate, const std::vector<Line>& lines, int64_t padded_channels) {
  const size_t channels = ranges.size(), count = levels.codes().size() - 1;
  Thresholds t{.channels = static_cast<int64_t>(channels), .padded_channels = padded_channels};
  for (const int64_t code : levels.codes()) t.levels.push_back(static_cast<uint8_t>(code));

  std::vector<int64_t> ends;
  for (const SumRange& range : ranges) ends.push_back(range.lowest);
  for (const SumRange& range : ranges) ends.push_back(range.highest);
  const std::vector<uint8_t> end_codes = codes_of(ends, t.channels, step, evaluate);
  for (size_t c = 0; c < channels; ++c) t.rising.push_back(end_codes[c] <= end_codes[channels + c]);

  // [count][channels]; the first sum past threshold j lies in [low, high].
  std::vector<int64_t> low(count * channels), high(low.size()), middle(low.size());
  for (size_t i = 0; i < low.size(); ++i) {
    low[i] = ranges[i % channels].lowest;
    high[i] = int64_t{ranges[i % channels].highest} + 1;
  }
  while (low != high) {
    for (size_t i = 0; i < low.size(); ++i) middle[i] = low[i] + (high[i] - low[i]) / 2;
    const std::vector<uint8_t> codes = codes_of(middle, t.channels, step, evaluate);
    for (size_t i = 0; i < low.size(); ++i) {
      if (low[i] == high[i]) continue;
      const size_t j = i / channels;
      const bool past = t.rising[i % channels] ? codes[i] >= t.levels[j + 1] : codes[i] < t.levels[count - j];
      (past ? high[i] : low[i]) = past ? middle[i] : middle[i] + 1;
    }
  }
  for (size_t c = 0; c < channels; ++c)
    for (size_t j = 0; j < count; ++j) {
      const int64_t threshold = low[j * channels + c];
      t.values.push_back(threshold > ranges[c].highest ? kNever : static_cast<int32_t>(threshold));
    }
  add_lines(t, ranges, levels, lines);
  return t;
}

}  // namespace apotnet
