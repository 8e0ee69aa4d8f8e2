#pragma once

#include "core/kernels/quantize.h"

namespace apotnet {

/// A batch norm without its input: mean, biased variance, gamma and beta [C] (F10). Where the statistics are constant
/// (evaluation mode) no gradient flows through them.
struct BatchNormTerms {
  Tensor mean, variance, gamma, beta;
  double epsilon = 1e-5;
  bool constant_statistics = false;
};

/// What stands between two convolutions, in one pass over memory. Every line is defined as the lines of the contract
/// that it names, one after the other, and its outputs have their very bits; gradients agree up to rounding (F8, F11).
///
/// x is the convolution's output [..., C]. Of the activations in between nothing is kept: a backward line makes them
/// again from x. The gradient `g` is changed in place, so that it needs no memory of its own.
class FusedKernels {
 public:
  virtual ~FusedKernels() = default;

  /// y = relu(batch_norm(x))
  virtual void norm_relu(const Tensor& x, const BatchNormTerms& norm, Tensor& y) const = 0;
  /// g comes as the gradient of y and leaves as that of x.
  virtual void norm_relu_backward(const Tensor& x, const BatchNormTerms& norm, Tensor& g, Tensor& ggamma,
                                  Tensor& gbeta) const = 0;

  /// y = relu(add(batch_norm(x), shortcut))
  virtual void norm_add_relu(const Tensor& x, const BatchNormTerms& norm, const Tensor& shortcut, Tensor& y) const = 0;
  /// g comes as the gradient of y and leaves as that of the shortcut.
  virtual void norm_add_relu_backward(const Tensor& x, const Tensor& y, const BatchNormTerms& norm, Tensor& g,
                                      Tensor& gx, Tensor& ggamma, Tensor& gbeta) const = 0;

  /// out = quantize_activation(relu(batch_norm(x)), alpha)
  virtual void norm_relu_quantize(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                  Quantized& out) const = 0;
  /// g comes as the gradient of the values of `out` and leaves as that of x. Behind a ReLU the two variants of the
  /// quantizer are one: nothing is negative.
  virtual void norm_relu_quantize_backward(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                           const Quantized& out, Tensor& g, Tensor& ggamma, Tensor& gbeta,
                                           Tensor& galpha) const = 0;
};

}  // namespace apotnet
