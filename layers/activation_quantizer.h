#pragma once

#include "layers/module.h"
#include "layers/norm_relu.h"
#include "layers/quant_settings.h"

namespace apotnet {

/// Rounds a layer's input to levels, clipped at a learned alpha (F7, F8). Alpha starts at 8 (cifar) or 6 (imagenet).
/// x [N, H, W, C] -> codes of the same shape with their step.
class ActivationQuantizer {
 public:
  explicit ActivationQuantizer(const QuantSettings& settings);
  Variable forward(const Variable& x, const std::string& layer) const;
  Variable forward(const NormRelu& x, const std::string& layer) const;

  Variable alpha;  ///< scalar
  const LevelSet& levels() const { return *levels_; }
  static double initial_alpha(QuantizerVariant variant) { return variant == QuantizerVariant::cifar ? 8.0 : 6.0; }

 private:
  const LevelSet* levels_;
  QuantizerVariant variant_;
  ThresholdGradient threshold_gradient_;
};

}  // namespace apotnet
