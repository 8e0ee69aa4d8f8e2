#pragma once

#include "core/quant/quantized.h"

namespace apotnet {

/// The two published variants of the quantizers (docs/formulas.md F5 to F8). `cifar` is the original of January 2020,
/// `imagenet` the rewrite of May 2020.
enum class QuantizerVariant { cifar, imagenet };

/// How the first convolution and the last linear layer round their weights.
enum class FirstLastRule {
  apot_compat,  ///< to 127ths of the signed maximum, as the authors do
  absmax8,      ///< to 127ths of the largest magnitude: always fits 8 bits
  none          ///< not at all
};

/// Quantizers: float to codes, and what of a gradient passes back through the rounding.
class QuantizeKernels {
 public:
  virtual ~QuantizeKernels() = default;

  /// step = alpha / K; codes = sign(z) * nearest(|z|), z = clamp(w_hat / alpha, -1, 1) (F5).
  virtual void quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const = 0;
  /// Straight through the rounding (F6). galpha is a scalar, summed in double in a fixed order.
  virtual void quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha, const Quantized& out,
                                        QuantizerVariant variant, Tensor& gw, Tensor& galpha) const = 0;
  /// step = alpha / K; codes = nearest(z), z = clamp(x / alpha, 0, 1) (F7).
  virtual void quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const = 0;
  /// Straight through the rounding (F8). Where `adds`, gx holds a gradient that this one is added to.
  virtual void quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha, const Quantized& out,
                                            QuantizerVariant variant, bool adds, Tensor& gx, Tensor& galpha) const = 0;
  /// galpha = sum of g * sign(z) over |z| > 1, z = x / alpha, without `has_sign` over z > 1 alone: what the clipped
  /// values say of the threshold (F16). A scalar, summed in double in a fixed order.
  virtual void clipped_gradient(const Tensor& g, const Tensor& x, const Tensor& alpha, bool has_sign,
                                Tensor& galpha) const = 0;
  /// values = codes * step.
  virtual void dequantize(const Quantized& q, Tensor& values) const = 0;
  /// out = round(w / m * 127) / 127 * m, half to even, m by `rule`; m is also returned in the scalar `largest` (F12).
  virtual void round_to_8bit(const Tensor& w, FirstLastRule rule, Tensor& out, Tensor& largest) const = 0;
};

}  // namespace apotnet
