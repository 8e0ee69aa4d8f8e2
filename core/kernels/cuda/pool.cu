#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/wide.h"

namespace apotnet::cuda {
namespace {

// Sizes of a pooling as 32-bit numbers: x is h x w x c, y is oh x ow x c.
struct Window {
  int h, w, c, oh, ow, size, stride, padding;

  Window(const Shape& x, const Shape& y, const PoolGeometry& g)
      : h(static_cast<int>(x[1])),
        w(static_cast<int>(x[2])),
        c(static_cast<int>(x[3])),
        oh(static_cast<int>(y[1])),
        ow(static_cast<int>(y[2])),
        size(static_cast<int>(g.window)),
        stride(static_cast<int>(g.stride)),
        padding(static_cast<int>(g.padding)) {}

  // Calls f(index in x, position in the image) for each pixel of the window of output i, in rows and columns.
  template <typename F>
  __device__ void for_each_input(int64_t i, F&& f) const {
    const int channel = static_cast<int>(i % c);
    const int64_t pixel = i / c;
    const int column = static_cast<int>(pixel % ow), row = static_cast<int>(pixel / ow % oh);
    const int64_t image = pixel / ow / oh;
    for (int y0 = max(row * stride - padding, 0); y0 < min(row * stride - padding + size, h); ++y0)
      for (int x0 = max(column * stride - padding, 0); x0 < min(column * stride - padding + size, w); ++x0)
        f(((image * h + y0) * w + x0) * c + channel, y0 * w + x0);
  }
  // Calls f(index in y, position in the image) for each output whose window holds input i, in rows and columns.
  template <typename F>
  __device__ void for_each_output(int64_t i, F&& f) const {
    const int channel = static_cast<int>(i % c);
    const int64_t pixel = i / c;
    const int x0 = static_cast<int>(pixel % w), y0 = static_cast<int>(pixel / w % h);
    const int64_t image = pixel / w / h;
    const auto first = [&](int at) { return max(0, (at + padding - size) / stride + (at + padding >= size ? 1 : 0)); };
    for (int row = first(y0); row <= min((y0 + padding) / stride, oh - 1); ++row)
      for (int column = first(x0); column <= min((x0 + padding) / stride, ow - 1); ++column)
        f(((image * oh + row) * ow + column) * c + channel, y0 * w + x0);
  }
};

__global__ void __launch_bounds__(kThreads) average_kernel(int64_t count, Window window, const float* x, float* y) {
  for_each_index(count, [&](int64_t i) {
    Wide sum = {};
    window.for_each_input(i, [&](int64_t from, int) { sum.add(x[from]); });
    y[i] = (sum.value() / Wide{static_cast<float>(window.size * window.size), 0}).high;
  });
}

__global__ void __launch_bounds__(kThreads)
    average_backward_kernel(int64_t count, Window window, float share, const float* gy, float* gx) {
  for_each_index(count, [&](int64_t i) {
    float sum = 0;
    window.for_each_output(i, [&](int64_t from, int) { sum += gy[from] * share; });
    gx[i] = sum;
  });
}

__global__ void __launch_bounds__(kThreads)
    max_kernel(int64_t count, Window window, const float* x, float* y, int32_t* position) {
  for_each_index(count, [&](int64_t i) {
    float best = 0;
    int where = -1;
    window.for_each_input(i, [&](int64_t from, int pixel) {
      if (where >= 0 && !(x[from] > best)) return;
      best = x[from];
      where = pixel;
    });
    y[i] = best;
    position[i] = where;
  });
}

__global__ void __launch_bounds__(kThreads)
    max_backward_kernel(int64_t count, Window window, const float* gy, const int32_t* position, float* gx) {
  for_each_index(count, [&](int64_t i) {
    float sum = 0;
    window.for_each_output(i, [&](int64_t from, int pixel) { sum += position[from] == pixel ? gy[from] : 0.0f; });
    gx[i] = sum;
  });
}

}  // namespace

void CudaPool::average_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y) const {
  launch({"average pool", x.bytes(), y.bytes()}, average_kernel, blocks_for(y.elements()), y.elements(),
         Window(x.shape(), y.shape(), geometry), input<float>(x), output<float>(y));
}

void CudaPool::average_pool_backward(const Tensor& gy, const PoolGeometry& geometry, Tensor& gx) const {
  const auto share = static_cast<float>(1.0 / static_cast<double>(geometry.window * geometry.window));
  launch({"average pool gradient", gy.bytes(), gx.bytes()}, average_backward_kernel, blocks_for(gx.elements()),
         gx.elements(), Window(gx.shape(), gy.shape(), geometry), share, input<float>(gy), output<float>(gx));
}

void CudaPool::max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const {
  launch({"max pool", x.bytes(), y.bytes() + position.bytes()}, max_kernel, blocks_for(y.elements()), y.elements(),
         Window(x.shape(), y.shape(), geometry), input<float>(x), output<float>(y), output<int32_t>(position));
}

void CudaPool::max_pool_backward(const Tensor& gy, const Tensor& position, const PoolGeometry& geometry,
                                 Tensor& gx) const {
  launch({"max pool gradient", gy.bytes() + position.bytes(), gx.bytes()}, max_backward_kernel,
         blocks_for(gx.elements()), gx.elements(), Window(gx.shape(), gy.shape(), geometry), input<float>(gy),
         input<int32_t>(position), output<float>(gx));
}

}  // namespace apotnet::cuda
