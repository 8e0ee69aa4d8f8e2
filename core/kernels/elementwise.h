#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

/// One element at a time; all tensors of a call have one shape.
class ElementwiseKernels {
 public:
  virtual ~ElementwiseKernels() = default;

  /// y = max(x, 0)
  virtual void relu(const Tensor& x, Tensor& y) const = 0;
  /// gx = gy where y > 0, else 0
  virtual void relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const = 0;
  /// y = min(max(x, 0), 6)
  virtual void relu6(const Tensor& x, Tensor& y) const = 0;
  /// gx = gy where 0 < y < 6, else 0
  virtual void relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const = 0;
  /// y = a + b
  virtual void add(const Tensor& a, const Tensor& b, Tensor& y) const = 0;
  /// y += x
  virtual void accumulate(const Tensor& x, Tensor& y) const = 0;
  /// y = x * factor
  virtual void scale(const Tensor& x, double factor, Tensor& y) const = 0;
};

}  // namespace apotnet
