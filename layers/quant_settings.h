#pragma once

#include "core/kernels/quantize.h"
#include "core/quant/level_set.h"

namespace apotnet {

/// How a network is quantized.
struct QuantSettings {
  LevelMethod method = LevelMethod::apot;
  QuantizerVariant variant = QuantizerVariant::cifar;
  int weight_bits = 4;      ///< 2 to 8, or 32: not quantized
  int activation_bits = 4;  ///< the same
  FirstLastRule first_last = FirstLastRule::apot_compat;
  double gradient_scale = 1;  ///< factor on the gradients of the clipping thresholds

  bool quantized() const { return weight_bits < 32; }
};

}  // namespace apotnet
