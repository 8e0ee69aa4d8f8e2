#pragma once

#include "core/kernels/quantize.h"
#include "core/ops/threshold.h"
#include "core/quant/level_set.h"

namespace apotnet {

/// How a network is quantized.
struct QuantSettings {
  LevelMethod method = LevelMethod::apot;
  QuantizerVariant variant = QuantizerVariant::cifar;
  int weight_bits = 4;      ///< 2 to 8, or 32: not quantized
  int activation_bits = 4;  ///< the same
  FirstLastRule first_last = FirstLastRule::apot_compat;
  ThresholdGradient threshold_gradient = {};  ///< how thresholds are learned
  bool weight_norm = true;                    ///< weights are normalised before they are quantized

  bool quantized() const { return weight_bits < 32; }
};

}  // namespace apotnet
