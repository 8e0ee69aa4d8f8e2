#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {
namespace {

struct Sizes {
  int h, w, c_group, c, kh, kw, o, o_group, oh, ow, stride, padding;
};

// One output a thread, in plain 32-bit integers: for sums too large for floats, which only 8-bit codes reach.
__global__ void __launch_bounds__(kThreads)
    integer_convolution_kernel(int64_t count, Sizes s, const uint8_t* x, const int8_t* w, const float* x_step,
                               const float* w_step, float* y) {
  const float step = x_step[0] * w_step[0];
  for_each_index(count, [&](int64_t i) {
    const int out = static_cast<int>(i % s.o), column = static_cast<int>(i / s.o % s.ow),
              row = static_cast<int>(i / s.o / s.ow % s.oh);
    const int64_t image = i / s.o / s.ow / s.oh;
    int32_t sum = 0;
    for (int kr = 0; kr < s.kh; ++kr)
      for (int kc = 0; kc < s.kw; ++kc) {
        const int y0 = row * s.stride + kr - s.padding, x0 = column * s.stride + kc - s.padding;
        if (y0 < 0 || y0 >= s.h || x0 < 0 || x0 >= s.w) continue;
        const uint8_t* pixel = x + ((image * s.h + y0) * s.w + x0) * s.c + out / s.o_group * s.c_group;
        const int8_t* weights = w + (int64_t{out * s.kh + kr} * s.kw + kc) * s.c_group;
        for (int c = 0; c < s.c_group; ++c) sum += int32_t{pixel[c]} * weights[c];
      }
    y[i] = static_cast<float>(sum) * step;
  });
}

}  // namespace

void launch_integer_convolution(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) {
  const auto size = [](const Shape& shape, int i) { return static_cast<int>(shape[i]); };
  const auto groups = static_cast<int>(geometry.groups);
  const Shape &xs = x.shape(), &ws = w.shape(), &ys = y.shape();
  const Sizes sizes{size(xs, 1),
                    size(xs, 2),
                    size(ws, 3),
                    size(xs, 3),
                    size(ws, 1),
                    size(ws, 2),
                    size(ws, 0),
                    size(ws, 0) / groups,
                    size(ys, 1),
                    size(ys, 2),
                    static_cast<int>(geometry.stride),
                    static_cast<int>(geometry.padding)};
  launch({"integer convolution", x.codes.bytes() + w.codes.bytes(), y.bytes()}, integer_convolution_kernel,
         blocks_for(y.elements()), y.elements(), sizes, input<uint8_t>(x.codes), input<int8_t>(w.codes),
         input<float>(x.step), input<float>(w.step), output<float>(y));
}

}  // namespace apotnet::cuda
