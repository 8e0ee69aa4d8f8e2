#include "core/ops/quantize.h"

#include <cmath>

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

namespace {

Variable quantize_signed(const Variable& w_hat, const Variable& alpha, const LevelSet& levels, QuantizerVariant variant,
                         const ThresholdGradient& learning) {
  Quantized out = Quantized::like(w_hat.value(), levels, /*has_sign=*/true);
  call("quantize_weight", &QuantizeKernels::quantize_weight, w_hat.value(), alpha.value(), out);

  // The rounding has no useful derivative: it is passed straight through. Clipping and scaling are differentiated
  // (RCF):
  //   dL/dalpha = sum g * (sign(z) where |z| > 1, else q - z)
  return Variable::record(out, {w_hat, alpha}, [=](const Tensor& g, Gradients& gradients) {
    Tensor gw = g.like(g.shape()), galpha = g.like({});
    call("quantize_weight_backward", &QuantizeKernels::quantize_weight_backward, g, w_hat.value(), alpha.value(), out,
         variant, gw, galpha);
    if (!learning.reparameterized) galpha = clipped_threshold_gradient(g, w_hat.value(), alpha, /*has_sign=*/true);
    gradients.add(0, gw);
    gradients.add(1, scaled_gradient(galpha, learning.scale));
  });
}

}  // namespace

Variable quantize_weight(const Variable& w_hat, const Variable& alpha, const LevelSet& levels, QuantizerVariant variant,
                         const std::string& layer, const ThresholdGradient& learning) {
  require_usable_threshold(alpha, layer, "weights");
  return quantize_signed(w_hat, alpha, levels, variant, learning);
}

Variable quantize_signed_activation(const Variable& x, const Variable& alpha, const LevelSet& levels,
                                    const std::string& layer, const ThresholdGradient& learning) {
  require_usable_threshold(alpha, layer, "input");
  return quantize_signed(x, alpha, levels, QuantizerVariant::imagenet, learning);
}

Variable quantize_activation(const Variable& x, const Variable& alpha, const LevelSet& levels, QuantizerVariant variant,
                             const std::string& layer, const ThresholdGradient& learning) {
  require_usable_threshold(alpha, layer, "input");
  Quantized out = Quantized::like(x.value(), levels, /*has_sign=*/false);
  call("quantize_activation", &QuantizeKernels::quantize_activation, x.value(), alpha.value(), out);

  //   dL/dx     = g where z <= 1 (imagenet: and z >= 0), else 0
  //   dL/dalpha = sum g * (1 where z > 1, else q - z; imagenet: 0 where z < 0)
  return Variable::record(out, {x, alpha}, [=](const Tensor& g, Gradients& gradients) {
    // x often feeds a shortcut or a second convolution too, whose gradient has arrived before.
    Tensor gx = gradients.take(0), galpha = g.like({});
    const bool adds = gx.defined();
    if (!adds) gx = g.like(g.shape());
    call("quantize_activation_backward", &QuantizeKernels::quantize_activation_backward, g, x.value(), alpha.value(),
         out, variant, adds, gx, galpha);
    if (!learning.reparameterized) galpha = clipped_threshold_gradient(g, x.value(), alpha, /*has_sign=*/false);
    gradients.add(0, gx);
    gradients.add(1, scaled_gradient(galpha, learning.scale));
  });
}

Variable round_to_8bit(const Variable& w, FirstLastRule rule, const std::string& layer) {
  if (rule == FirstLastRule::none) return w;
  Tensor out = w.value().like(w.shape()), largest = out.like({});
  call("round_to_8bit", &QuantizeKernels::round_to_8bit, w.value(), rule, out, largest);
  if (const double m = item_of_host(largest, 1); !std::isfinite(m) || m == 0)
    fail(ErrorCategory::diverged, layer, ": the largest weight is ", m,
         "; its 8-bit rounding needs a finite one other than 0");

  return Variable::record(out, {w}, [](const Tensor& g, Gradients& gradients) { gradients.add(0, g); });
}

}  // namespace apotnet
