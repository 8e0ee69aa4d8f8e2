#pragma once

#include <vector>

#include "core/autograd/variable.h"

namespace apotnet {

/// What batch norms share: Error(internal) unless x [..., C] ends in the channels of gamma [C].
void require_channels(const Variable& x, const Variable& gamma);

/// Consecutive images of a batch and the statistics [C] that they are normalised by, the variance biased.
struct NormPart {
  int64_t first = 0, count = 0;
  Tensor mean, variance;
  /// These images of a tensor of the batch, in its memory.
  Tensor of(const Tensor& batch) const { return batch.part(first, count); }
};

/// Adds what a part contributes to a gradient; an empty total takes it over.
void add_contribution(Tensor& total, const Tensor& contribution);

/// Statistics of x [N, ..., C]: of the whole batch, or of its sub-batches of at most `ghost_batch` images (F17; 0 = of
/// the whole batch). Those of the first update the running ones [C] (the variance made unbiased) by `momentum`.
std::vector<NormPart> batch_statistics(const Variable& x, const Variable& gamma, double momentum, Tensor& running_mean,
                                       Tensor& running_variance, int64_t ghost_batch);

/// Normalises x [N, ..., C] per channel by the own mean and variance of the batch, or of each of its sub-batches, then
/// y = gamma * x_hat + beta (F10). The running statistics change as by batch_statistics().
Variable batch_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                          double momentum, Tensor& running_mean, Tensor& running_variance, int64_t ghost_batch = 0);

/// The same by the given statistics, which are constants to the gradient.
Variable batch_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                         const Tensor& running_mean, const Tensor& running_variance);

}  // namespace apotnet
