#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

/// y = x w^T + b. x [N, I], w [O, I], b [O], y [N, O].
class LinearKernels {
 public:
  virtual ~LinearKernels() = default;

  virtual void linear(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y) const = 0;
  virtual void linear_backward(const Tensor& gy, const Tensor& x, const Tensor& w, Tensor& gx, Tensor& gw,
                               Tensor& gb) const = 0;
};

}  // namespace apotnet
