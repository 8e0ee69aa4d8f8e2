#include "core/ops/conv2d.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {
namespace {

Shape output_shape(const Shape& x, const Shape& w, const Conv2dGeometry& g) {
  const bool fits = x.rank() == 4 && w.rank() == 4 && g.groups > 0 && g.stride > 0 && g.padding >= 0 &&
                    x[3] == w[3] * g.groups && w[0] % g.groups == 0 && x[1] + 2 * g.padding >= w[1] &&
                    x[2] + 2 * g.padding >= w[2];
  require(fits, "conv2d: input ", x, " (N, H, W, C) and weight ", w, " (O, KH, KW, C / groups) do not fit, stride ",
          g.stride, ", padding ", g.padding, ", groups ", g.groups);
  return {x[0], g.output_size(x[1], w[1]), g.output_size(x[2], w[2]), w[0]};
}

}  // namespace

Variable conv2d(const Variable& x, const Variable& w, const Conv2dGeometry& geometry) {
  Tensor y = x.value().like(output_shape(x.shape(), w.shape(), geometry));
  call("conv2d", &ConvKernels::conv2d, x.value(), w.value(), geometry, y);

  return Variable::record(y, {x, w}, [=](const Tensor& gy, Gradients& gradients) {
    if (gradients.needed(0)) {
      Tensor gx = gy.like(x.shape());
      call("conv2d_backward_input", &ConvKernels::conv2d_backward_input, gy, w.value(), geometry, gx);
      gradients.add(0, gx);
    }
    if (gradients.needed(1)) {
      Tensor gw = gy.like(w.shape());
      call("conv2d_backward_weight", &ConvKernels::conv2d_backward_weight, gy, x.value(), geometry, gw);
      gradients.add(1, gw);
    }
  });
}

namespace {

// The derivative of both forward forms.
Variable record_codes(const Tensor& y, const Variable& x, const Variable& w, const Conv2dGeometry& geometry) {
  return Variable::record(y, {x, w}, [=](const Tensor& gy, Gradients& gradients) {
    if (gradients.needed(0)) {
      Tensor gx = gy.like(x.shape());
      call("conv2d_codes_backward_input", &ConvKernels::conv2d_codes_backward_input, gy, w.quantized(), geometry, gx);
      gradients.add(0, gx);
    }
    if (gradients.needed(1)) {
      Tensor gw = gy.like(w.shape());
      call("conv2d_codes_backward_weight", &ConvKernels::conv2d_codes_backward_weight, gy, x.quantized(), geometry, gw);
      gradients.add(1, gw);
    }
  });
}

}  // namespace

Variable conv2d_codes(const Variable& x, const Variable& w, const Conv2dGeometry& geometry) {
  Tensor y = x.quantized().step.like(output_shape(x.shape(), w.shape(), geometry));
  call("conv2d_codes", &ConvKernels::conv2d_codes, x.quantized(), w.quantized(), geometry, y);
  return record_codes(y, x, w, geometry);
}

Variable conv2d_codes_statistics(const Variable& x, const Variable& w, const Conv2dGeometry& geometry) {
  Tensor y = x.quantized().step.like(output_shape(x.shape(), w.shape(), geometry));
  Tensor mean = y.like({y.size(3)}), variance = y.like({y.size(3)});
  call("conv2d_codes_statistics", &ConvKernels::conv2d_codes_statistics, x.quantized(), w.quantized(), geometry, y,
       mean, variance);
  Variable result = record_codes(y, x, w, geometry);
  result.keep_statistics({mean, variance});
  return result;
}

}  // namespace apotnet
