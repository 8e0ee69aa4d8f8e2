#pragma once

#include <vector>

#include "core/tensor/tensor.h"

namespace apotnet {

struct SgdSettings {
  double learning_rate = 0.1;
  double momentum = 0.9;
  double weight_decay = 0;
};

/// One parameter of an optimizer that has several groups of them; its tensors are handles, changed in place.
struct SgdItem {
  Tensor gradient, parameter, velocity;
  double momentum = 0.9;
  double weight_decay = 0;
  int64_t group = 0;
  Tensor squares{};  ///< where defined, of the parameter's shape: gradient * gradient is added
};

/// Optimizer steps.
class UpdateKernels {
 public:
  virtual ~UpdateKernels() = default;

  /// velocity = momentum * velocity + (gradient + weight_decay * parameter); parameter -= learning_rate * velocity
  /// (F14).
  virtual void sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const = 0;
  /// sgd() of every item with the learning rate rates[item.group], and its squares. The rates [groups] are of the
  /// parameters' type and lie where they do, so that a recorded step takes new ones.
  virtual void sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const = 0;
};

}  // namespace apotnet
