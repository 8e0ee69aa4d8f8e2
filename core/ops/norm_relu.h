#pragma once

#include <string>

#include "core/autograd/variable.h"
#include "core/kernels/quantize.h"
#include "core/ops/batch_norm.h"
#include "core/ops/threshold.h"

namespace apotnet {

/// A batch norm of x [..., C] that has everything it needs and has not been computed (F10): the operations below
/// compute it together with what follows, in one pass and with the very bits of the operations one by one.
struct UncomputedNorm {
  Variable x, gamma, beta;
  std::vector<NormPart> parts;  // of x; one of the whole batch without ghost batches
  double epsilon = 1e-5;
  bool constant_statistics = false;  // no gradient flows through them
};

/// With the batch's own statistics, which update `running_mean` and `running_variance` as batch_norm_train() does.
UncomputedNorm uncomputed_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                                     double momentum, Tensor& running_mean, Tensor& running_variance,
                                     int64_t ghost_batch = 0);
/// With the given statistics, which are constants to the gradient.
UncomputedNorm uncomputed_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                                    const Tensor& running_mean, const Tensor& running_variance);

/// relu(batch norm)
Variable norm_relu(const UncomputedNorm& norm);

/// relu(batch norm + shortcut), the shortcut of the shape of x.
Variable norm_add_relu(const UncomputedNorm& norm, const Variable& shortcut);

/// quantize_activation(relu(batch norm)): codes with their step, and no float in between (F7). Backward makes the
/// floats again from x (F8; behind a ReLU the variants agree). alpha as in quantize_activation().
Variable norm_relu_quantize(const UncomputedNorm& norm, const Variable& alpha, const LevelSet& levels,
                            const std::string& layer, const ThresholdGradient& learning = {});

}  // namespace apotnet
