#include "layers/activation_quantizer.h"

#include "core/ops/quantize.h"

namespace apotnet {

ActivationQuantizer::ActivationQuantizer(const QuantSettings& settings)
    : alpha(Tensor::scalar(initial_alpha(settings.variant), DType::f32), true),
      levels_(&LevelSet::for_activations(settings.method, settings.activation_bits)),
      variant_(settings.variant),
      threshold_gradient_(settings.threshold_gradient) {}

Variable ActivationQuantizer::forward(const Variable& x, const std::string& layer) const {
  return quantize_activation(x, alpha, *levels_, variant_, layer, threshold_gradient_);
}

Variable ActivationQuantizer::forward(const NormRelu& x, const std::string& layer) const {
  return norm_relu_quantize(x.norm(), alpha, *levels_, layer, threshold_gradient_);
}

}  // namespace apotnet
