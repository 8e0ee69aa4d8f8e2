#include "core/kernels/cuda/codes/plain.h"
#include "core/kernels/cuda/kernels.h"

namespace apotnet::cuda {
namespace {

// For sums too large for floats, which only 8-bit codes reach.
template <typename Code>
__global__ void __launch_bounds__(kThreads)
    integer_convolution_kernel(int64_t count, PlainConvolution<Code> convolution, const float* x_step,
                               const float* w_step, float* y) {
  const float step = x_step[0] * w_step[0];
  for_each_index(count, [&](int64_t i) {
    const int32_t sum = convolution.sum(i / convolution.outputs, static_cast<int>(i % convolution.outputs));
    y[i] = static_cast<float>(sum) * step;
  });
}

template <typename Code>
void launch_for(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) {
  launch({"integer convolution", x.codes.bytes() + w.codes.bytes(), y.bytes()}, integer_convolution_kernel<Code>,
         blocks_for(y.elements()), y.elements(), PlainConvolution<Code>(x.codes, w.codes, geometry),
         input<float>(x.step), input<float>(w.step), output<float>(y));
}

}  // namespace

void launch_integer_convolution(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) {
  if (x.codes.dtype() == DType::s8)
    launch_for<int8_t>(x, w, geometry, y);
  else
    launch_for<uint8_t>(x, w, geometry, y);
}

}  // namespace apotnet::cuda
