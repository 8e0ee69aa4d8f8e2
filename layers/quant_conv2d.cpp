#include "layers/quant_conv2d.h"

#include "core/ops/conv2d.h"
#include "layers/first_last.h"

namespace apotnet {

QuantConv2d::QuantConv2d(int64_t in, int64_t out, int64_t kernel, const Conv2dGeometry& geometry,
                         const QuantSettings& settings, InputSign sign)
    : weight(Tensor::zeros({out, kernel, kernel, in / geometry.groups}, DType::f32), true),
      geometry_(geometry),
      variant_(settings.variant) {
  add_parameter("weight", weight);
  if (!settings.quantized()) return;
  weight_quantizer.emplace(settings);
  activation_quantizer.emplace(settings, sign == InputSign::both);
  const bool cifar = settings.variant == QuantizerVariant::cifar;
  add_parameter("act_alpha", activation_quantizer->alpha, ParameterRole::activation_alpha);
  add_parameter(cifar ? "weight_quant.wgt_alpha" : "weight_alpha", weight_quantizer->alpha,
                ParameterRole::weight_alpha);
}

Variable QuantConv2d::forward(const Variable& x) const {
  if (!weight_quantizer) return conv2d(x, weight, geometry_);
  const Variable w_codes = weight_quantizer->forward(weight, name());
  return convolve(activation_quantizer->forward(x, name()), w_codes);
}

Variable QuantConv2d::forward(const NormRelu& x) const {
  if (!weight_quantizer) return forward(x.value());
  const Variable w_codes = weight_quantizer->forward(weight, name());
  return convolve(activation_quantizer->forward(x, name()), w_codes);
}

// In training a batch norm stands behind it and wants the statistics.
Variable QuantConv2d::convolve(const Variable& x_codes, const Variable& w_codes) const {
  return training() ? conv2d_codes_statistics(x_codes, w_codes, geometry_) : conv2d_codes(x_codes, w_codes, geometry_);
}

bool QuantConv2d::exact() const {
  return !weight_quantizer || (weight_quantizer->levels().fits_s8() && activation_quantizer->fits_8_bits());
}

void QuantConv2d::initialize_own(Philox& random) {
  initialize_convolution(weight, random, geometry_.groups);
  if (!weight_quantizer) return;
  weight_quantizer->start_alpha(weight.value());
  activation_quantizer->alpha.mutable_value().fill(ActivationQuantizer::initial_alpha(variant_));
}

}  // namespace apotnet
