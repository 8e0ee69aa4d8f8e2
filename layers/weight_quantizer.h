#pragma once

#include "layers/module.h"
#include "layers/quant_settings.h"

namespace apotnet {

/// Normalises a weight and rounds it to signed levels, clipped at a learned alpha (F3 to F6).
/// w [O, KH, KW, I] -> codes of the same shape with their step, in normalised units: batch norm absorbs the scale.
/// Without weight normalisation (settings.weight_norm) the raw weight is rounded, in its own units.
class WeightQuantizer {
 public:
  explicit WeightQuantizer(const QuantSettings& settings);
  Variable forward(const Variable& w, const std::string& layer) const;
  /// Sets alpha to where training begins: 3 standard deviations of what is rounded, which is 3 for w_hat.
  void start_alpha(const Tensor& w);

  Variable alpha;  ///< scalar
  const LevelSet& levels() const { return *levels_; }
  bool normalises() const { return normalises_; }

 private:
  // What is clipped and rounded: w_hat, or w itself.
  Variable input(const Variable& w, const std::string& layer) const;

  const LevelSet* levels_;
  QuantizerVariant variant_;
  ThresholdGradient threshold_gradient_;
  bool normalises_;
};

}  // namespace apotnet
