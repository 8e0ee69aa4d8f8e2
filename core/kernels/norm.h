#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

/// Batch normalisation over the last dimension (channels) and weight normalisation over whole tensors.
class NormKernels {
 public:
  virtual ~NormKernels() = default;

  /// mean [C] and biased variance [C] of x [..., C], each sum in double and in a fixed order.
  virtual void batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const = 0;
  /// y = x * scale + shift, scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale; both rounded once
  /// (F10).
  virtual void batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
                          const Tensor& beta, double epsilon, Tensor& y) const = 0;
  /// Gradients through the batch's own statistics (F11).
  virtual void batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                   const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                   Tensor& gbeta) const = 0;
  /// Gradients with constant statistics (evaluation mode).
  virtual void batch_norm_eval_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                        const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                        Tensor& gbeta) const = 0;
  /// running += momentum * (batch - running); the batch's variance of `count` elements is made unbiased first.
  virtual void update_running_statistics(const Tensor& mean, const Tensor& variance, int64_t count, double momentum,
                                         Tensor& running_mean, Tensor& running_variance) const = 0;

  /// w_hat = (w - mean) / std over the whole tensor, std unbiased; mean and std are scalars (F3).
  virtual void weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const = 0;
  /// gw = g / std where mean and std are constants, else (g - mean(g) - w_hat * sum(g w_hat) / (N - 1)) / std (F4).
  virtual void weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std, bool constant_statistics,
                                    Tensor& gw) const = 0;
};

}  // namespace apotnet
