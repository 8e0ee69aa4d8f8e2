#pragma once

#include <functional>
#include <vector>

#include "core/kernels/cpu/codes/epilogue.h"
#include "core/tensor/tensor.h"

namespace apotnet {

/// Sums -> codes of the next convolution as evaluation computes them: y [n, 1, 1, channels] f32 in units of the
/// convolution's output, codes u8 of the same shape out.
using EvaluateCodes = std::function<Tensor(const Tensor& y)>;

/// The codes of one layer's channels as sorted integer thresholds (CodesEpilogue).
struct Thresholds {
  int64_t channels = 0, padded_channels = 0;
  std::vector<int32_t> values{};          ///< [channels][levels - 1] ascending; INT32_MAX: never reached
  std::vector<uint8_t> rising{};          ///< [channels]
  std::vector<uint8_t> levels{};          ///< ascending
  std::vector<float> factor{}, offset{};  ///< [padded_channels], or empty where no line gives the same codes
};

/// What the sums of one channel can be.
struct SumRange {
  int32_t lowest = 0, highest = 0;
};

/// A line m = sum * factor + offset in half steps (F2) per channel, up to rounding.
struct Line {
  double factor = 0, offset = 0;
};

/// Finds each threshold by bisection on evaluation's own expression: batch norm, ReLU and quantizer are monotone in the
/// sum, since every float operation in them rounds monotonically. `step` makes floats of sums, as the convolution does.
/// The lines are then rounded to float32 and checked at every threshold from both sides.
Thresholds find_thresholds(const std::vector<SumRange>& ranges, float step, const LevelSet& levels,
                           const EvaluateCodes& evaluate, const std::vector<Line>& lines, int64_t padded_channels);

}  // namespace apotnet
