#pragma once

#include "core/ops/norm_relu.h"
#include "layers/module.h"

namespace apotnet {

/// Batch normalisation per channel with learned scale and shift (F10, F11); epsilon 1e-5, momentum 0.1, stays float.
/// In training it normalises by the batch and updates the running statistics, in evaluation by the running statistics.
class BatchNorm : public Module {
 public:
  explicit BatchNorm(int64_t channels);
  Variable forward(const Variable& x);
  /// The same, left to an operation that computes it together with what follows.
  UncomputedNorm uncomputed(const Variable& x);

  Variable weight, bias;             ///< gamma and beta, [channels]
  Tensor running_mean, running_var;  ///< [channels]; the variance is the unbiased one
  Tensor num_batches_tracked;        ///< i64 scalar, kept for PyTorch's sake
  int64_t ghost_batch = 0;           ///< images of a sub-batch with statistics of its own in training (F17); 0: all

  static constexpr double kEpsilon = 1e-5;
  static constexpr double kMomentum = 0.1;

 protected:
  void initialize_own(Philox& random) override;
};

/// Sets `ghost_batch` of every batch norm of a network.
void set_ghost_batch(Module& network, int64_t images);

}  // namespace apotnet
