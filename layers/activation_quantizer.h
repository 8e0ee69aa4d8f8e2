#pragma once

#include "layers/module.h"
#include "layers/norm_relu.h"
#include "layers/quant_settings.h"

namespace apotnet {

/// Rounds a layer's input to levels, clipped at a learned alpha (F7, F8). Alpha starts at 8 (cifar) or 6 (imagenet).
/// With a sign for inputs that do not come from a ReLU: levels as for weights of as many bits.
/// x [N, H, W, C] -> codes of the same shape with their step.
class ActivationQuantizer {
 public:
  explicit ActivationQuantizer(const QuantSettings& settings, bool has_sign = false);
  Variable forward(const Variable& x, const std::string& layer) const;
  Variable forward(const NormRelu& x, const std::string& layer) const;

  Variable alpha;  ///< scalar
  const LevelSet& levels() const { return *levels_; }
  bool fits_8_bits() const { return has_sign_ ? levels_->fits_s8() : levels_->fits_u8(); }
  static double initial_alpha(QuantizerVariant variant) { return variant == QuantizerVariant::cifar ? 8.0 : 6.0; }

 private:
  bool has_sign_;
  const LevelSet* levels_;
  QuantizerVariant variant_;
  ThresholdGradient threshold_gradient_;
};

}  // namespace apotnet
