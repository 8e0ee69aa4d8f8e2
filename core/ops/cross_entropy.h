#pragma once

#include "core/autograd/variable.h"

namespace apotnet {

/// Mean cross entropy of softmax(logits [N, classes]) against labels s32 [N], smoothed by `smoothing` in [0, 1) (F13).
/// A scalar. Error(damaged_data) for a label outside [0, classes).
Variable cross_entropy(const Variable& logits, const Tensor& labels, double smoothing = 0);

}  // namespace apotnet
