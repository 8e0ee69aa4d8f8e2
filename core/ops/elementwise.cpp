#include "core/ops/elementwise.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

Variable relu(const Variable& x) {
  Tensor y = x.value().like(x.shape());
  call("relu", &ElementwiseKernels::relu, x.value(), y);

  // The output tells as well as the input where x > 0, and the next layer keeps it anyway.
  return Variable::record(y, {x}, [y](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(gy.shape());
    call("relu_backward", &ElementwiseKernels::relu_backward, gy, y, gx);
    gradients.add(0, gx);
  });
}

Variable relu6(const Variable& x) {
  Tensor y = x.value().like(x.shape());
  call("relu6", &ElementwiseKernels::relu6, x.value(), y);

  return Variable::record(y, {x}, [y](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(gy.shape());
    call("relu6_backward", &ElementwiseKernels::relu6_backward, gy, y, gx);
    gradients.add(0, gx);
  });
}

Variable add(const Variable& a, const Variable& b) {
  require(a.shape() == b.shape(), "add: shapes ", a.shape(), " and ", b.shape(), " differ");
  Tensor y = a.value().like(a.shape());
  call("add", &ElementwiseKernels::add, a.value(), b.value(), y);

  return Variable::record(y, {a, b}, [](const Tensor& gy, Gradients& gradients) {
    gradients.add(0, gy);
    gradients.add(1, gy);
  });
}

Variable scale(const Variable& x, double factor) {
  Tensor y = x.value().like(x.shape());
  call("scale", &ElementwiseKernels::scale, x.value(), factor, y);

  return Variable::record(y, {x}, [factor](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(gy.shape());
    call("scale", &ElementwiseKernels::scale, gy, factor, gx);
    gradients.add(0, gx);
  });
}

Variable reshape(const Variable& x, const Shape& shape) {
  const Shape former = x.shape();
  return Variable::record(x.value().reshaped(shape), {x},
                          [former](const Tensor& gy, Gradients& gradients) { gradients.add(0, gy.reshaped(former)); });
}

}  // namespace apotnet
