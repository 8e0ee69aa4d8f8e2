#include "core/ops/linear.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

Variable linear(const Variable& x, const Variable& w, const Variable& b) {
  const Shape &xs = x.shape(), &ws = w.shape();
  require(xs.rank() == 2 && ws.rank() == 2 && xs[1] == ws[1] && b.shape() == Shape{ws[0]}, "linear: input ", xs,
          " (N, I), weight ", ws, " (O, I) and bias ", b.shape(), " (O) do not fit");
  Tensor y = x.value().like({xs[0], ws[0]});
  call("linear", &LinearKernels::linear, x.value(), w.value(), b.value(), y);

  return Variable::record(y, {x, w, b}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(x.shape()), gw = gy.like(w.shape()), gb = gy.like(b.shape());
    call("linear_backward", &LinearKernels::linear_backward, gy, x.value(), w.value(), gx, gw, gb);
    gradients.add(0, gx);
    gradients.add(1, gw);
    gradients.add(2, gb);
  });
}

}  // namespace apotnet
