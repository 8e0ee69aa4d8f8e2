#include "layers/weight_quantizer.h"

#include "core/kernels/call.h"
#include "core/ops/quantize.h"
#include "core/ops/weight_norm.h"

namespace apotnet {
namespace {

constexpr double kInitialAlpha = 3.0;

}  // namespace

WeightQuantizer::WeightQuantizer(const QuantSettings& settings)
    : alpha(Tensor::scalar(kInitialAlpha, DType::f32), true),
      levels_(&LevelSet::for_weights(settings.method, settings.weight_bits)),
      variant_(settings.variant),
      threshold_gradient_(settings.threshold_gradient),
      normalises_(settings.weight_norm) {}

Variable WeightQuantizer::forward(const Variable& w, const std::string& layer) const {
  return quantize_weight(input(w, layer), alpha, *levels_, variant_, layer, threshold_gradient_);
}

Variable WeightQuantizer::input(const Variable& w, const std::string& layer) const {
  return normalises_ ? weight_norm(w, /*constant_statistics=*/variant_ == QuantizerVariant::cifar, layer) : w;
}

void WeightQuantizer::start_alpha(const Tensor& w) {
  double deviation = 1;
  if (!normalises_) {
    Tensor w_hat(w.shape(), w.dtype()), mean({}, w.dtype()), std({}, w.dtype());
    call("weight_norm", &NormKernels::weight_norm, w, w_hat, mean, std);
    deviation = std.item();
  }
  alpha.mutable_value().fill(kInitialAlpha * deviation);
}

}  // namespace apotnet
