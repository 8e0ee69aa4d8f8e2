#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

struct SgdSettings {
  double learning_rate = 0.1;
  double momentum = 0.9;
  double weight_decay = 0;
};

/// Optimizer steps.
class UpdateKernels {
 public:
  virtual ~UpdateKernels() = default;

  /// velocity = momentum * velocity + (gradient + weight_decay * parameter); parameter -= learning_rate * velocity
  /// (F14).
  virtual void sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const = 0;
};

}  // namespace apotnet
