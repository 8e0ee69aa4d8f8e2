#include "core/ops/pool.h"

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/elementwise.h"

namespace apotnet {
namespace {

Shape output_shape(const Shape& x, const PoolGeometry& g) {
  const bool fits = x.rank() == 4 && g.window > 0 && g.stride > 0 && g.padding >= 0 && 2 * g.padding <= g.window &&
                    x[1] + 2 * g.padding >= g.window && x[2] + 2 * g.padding >= g.window;
  require(fits, "pooling: input ", x, " (N, H, W, C) does not fit window ", g.window, ", stride ", g.stride,
          ", padding ", g.padding);
  return {x[0], g.output_size(x[1]), g.output_size(x[2]), x[3]};
}

}  // namespace

Variable average_pool(const Variable& x, const PoolGeometry& geometry) {
  Tensor y = x.value().like(output_shape(x.shape(), geometry));
  call("average_pool", &PoolKernels::average_pool, x.value(), geometry, y);

  const Shape shape = x.shape();
  return Variable::record(y, {x}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(shape);
    call("average_pool_backward", &PoolKernels::average_pool_backward, gy, geometry, gx);
    gradients.add(0, gx);
  });
}

Variable max_pool(const Variable& x, const PoolGeometry& geometry) {
  Tensor y = x.value().like(output_shape(x.shape(), geometry));
  Tensor position(y.shape(), DType::s32, y.device());
  call("max_pool", &PoolKernels::max_pool, x.value(), geometry, y, position);

  const Shape shape = x.shape();
  return Variable::record(y, {x}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(shape);
    call("max_pool_backward", &PoolKernels::max_pool_backward, gy, position, geometry, gx);
    gradients.add(0, gx);
  });
}

Variable global_average_pool(const Variable& x) {
  const Shape& s = x.shape();
  require(s.rank() == 4, "global pooling: input ", s, " is not (N, H, W, C)");
  // One window over an image seen as a row of H * W pixels: the window must be square, so the image must be too.
  require(s[1] == s[2], "global pooling: image ", s[1], " x ", s[2], " is not square");
  return reshape(average_pool(x, {s[1], s[1], 0}), {s[0], s[3]});
}

}  // namespace apotnet
