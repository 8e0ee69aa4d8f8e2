#pragma once

#include "layers/module.h"
#include "layers/quant_settings.h"

namespace apotnet {

/// Normalises a weight and rounds it to signed levels, clipped at a learned alpha (F3 to F6). Starts with alpha = 3.
/// w [O, KH, KW, I] -> codes of the same shape with their step, in normalised units: batch norm absorbs the scale.
class WeightQuantizer {
 public:
  explicit WeightQuantizer(const QuantSettings& settings);
  Variable forward(const Variable& w, const std::string& layer) const;

  Variable alpha;  ///< scalar
  const LevelSet& levels() const { return *levels_; }

 private:
  const LevelSet* levels_;
  QuantizerVariant variant_;
  double gradient_scale_;
};

}  // namespace apotnet
