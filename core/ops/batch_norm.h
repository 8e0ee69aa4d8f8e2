#pragma once

#include "core/autograd/variable.h"

namespace apotnet {

/// What batch norms share: Error(internal) unless x [..., C] ends in the channels of gamma [C].
void require_channels(const Variable& x, const Variable& gamma);

struct BatchStatistics {
  Tensor mean, variance;  // [C], the variance biased
};
/// Statistics of x [..., C]; they update the running ones [C] (the variance made unbiased) by `momentum`.
BatchStatistics batch_statistics(const Variable& x, const Variable& gamma, double momentum, Tensor& running_mean,
                                 Tensor& running_variance);

/// Normalises x [..., C] per channel by the batch's own mean and variance, then y = gamma * x_hat + beta (F10).
/// The batch's statistics update `running_mean` and `running_variance` [C] (the variance made unbiased) by `momentum`.
Variable batch_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                          double momentum, Tensor& running_mean, Tensor& running_variance);

/// The same by the given statistics, which are constants to the gradient.
Variable batch_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                         const Tensor& running_mean, const Tensor& running_variance);

}  // namespace apotnet
