#include "layers/activation_quantizer.h"

#include "core/base/error.h"
#include "core/ops/quantize.h"

namespace apotnet {

ActivationQuantizer::ActivationQuantizer(const QuantSettings& settings, bool has_sign)
    : alpha(Tensor::scalar(initial_alpha(settings.variant), DType::f32), true),
      has_sign_(has_sign),
      levels_(has_sign ? &LevelSet::for_weights(settings.method, settings.activation_bits)
                       : &LevelSet::for_activations(settings.method, settings.activation_bits)),
      variant_(settings.variant),
      threshold_gradient_(settings.threshold_gradient) {}

Variable ActivationQuantizer::forward(const Variable& x, const std::string& layer) const {
  if (has_sign_) return quantize_signed_activation(x, alpha, *levels_, layer, threshold_gradient_);
  return quantize_activation(x, alpha, *levels_, variant_, layer, threshold_gradient_);
}

Variable ActivationQuantizer::forward(const NormRelu& x, const std::string& layer) const {
  require(!has_sign_, layer, ": a ReLU in front of a quantizer with a sign");
  return norm_relu_quantize(x.norm(), alpha, *levels_, layer, threshold_gradient_);
}

}  // namespace apotnet
