#include "layers/weight_quantizer.h"

#include "core/ops/quantize.h"
#include "core/ops/weight_norm.h"

namespace apotnet {

WeightQuantizer::WeightQuantizer(const QuantSettings& settings)
    : alpha(Tensor::scalar(3.0, DType::f32), true),
      levels_(&LevelSet::for_weights(settings.method, settings.weight_bits)),
      variant_(settings.variant),
      gradient_scale_(settings.gradient_scale) {}

Variable WeightQuantizer::forward(const Variable& w, const std::string& layer) const {
  const bool constant_statistics = variant_ == QuantizerVariant::cifar;
  return quantize_weight(weight_norm(w, constant_statistics, layer), alpha, *levels_, variant_, layer, gradient_scale_);
}

}  // namespace apotnet
