#include <algorithm>
#include <vector>

#include "core/kernels/reference/reference.h"

namespace apotnet {
namespace {

// Calls f(x index of the pixel's first channel, y index, position in the image) for every pixel of every window.
template <typename F>
void for_each_window_pixel(const Shape& x, const Shape& y, const PoolGeometry& geometry, F&& f) {
  for (int64_t n = 0; n < y[0]; ++n)
    for (int64_t row = 0; row < y[1]; ++row)
      for (int64_t column = 0; column < y[2]; ++column)
        for (int64_t i = 0; i < geometry.window; ++i)
          for (int64_t j = 0; j < geometry.window; ++j) {
            const int64_t y0 = row * geometry.stride + i - geometry.padding;
            const int64_t x0 = column * geometry.stride + j - geometry.padding;
            if (y0 < 0 || y0 >= x[1] || x0 < 0 || x0 >= x[2]) continue;
            const int64_t position = y0 * x[2] + x0;
            f(static_cast<size_t>((n * x[1] * x[2] + position) * x[3]),
              static_cast<size_t>(((n * y[1] + row) * y[2] + column) * x[3]), static_cast<int32_t>(position));
          }
}

}  // namespace

void ReferencePool::average_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto channels = static_cast<size_t>(x.size(3));
    const auto xs = x.data<Float>();
    std::vector<double> sums(static_cast<size_t>(y.elements()));
    for_each_window_pixel(x.shape(), y.shape(), geometry, [&](size_t from, size_t to, int32_t) {
      for (size_t c = 0; c < channels; ++c) sums[to + c] += xs[from + c];
    });
    const double count = static_cast<double>(geometry.window * geometry.window);
    std::ranges::transform(sums, y.data<Float>().begin(), [&](double sum) { return static_cast<Float>(sum / count); });
  });
}

void ReferencePool::average_pool_backward(const Tensor& gy, const PoolGeometry& geometry, Tensor& gx) const {
  dispatch_float(gy.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto channels = static_cast<size_t>(gx.size(3));
    const auto gys = gy.data<Float>();
    const auto gxs = gx.data<Float>();
    const auto share = static_cast<Float>(1.0 / static_cast<double>(geometry.window * geometry.window));
    std::ranges::fill(gxs, Float(0));
    for_each_window_pixel(gx.shape(), gy.shape(), geometry, [&](size_t from, size_t to, int32_t) {
      for (size_t c = 0; c < channels; ++c) gxs[from + c] += gys[to + c] * share;
    });
  });
}

void ReferencePool::max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto channels = static_cast<size_t>(x.size(3));
    const auto xs = x.data<Float>();
    const auto ys = y.data<Float>();
    const auto positions = position.data<int32_t>();
    std::ranges::fill(positions, -1);
    for_each_window_pixel(x.shape(), y.shape(), geometry, [&](size_t from, size_t to, int32_t pixel) {
      for (size_t c = 0; c < channels; ++c)
        if (positions[to + c] < 0 || xs[from + c] > ys[to + c]) {
          ys[to + c] = xs[from + c];
          positions[to + c] = pixel;
        }
    });
  });
}

void ReferencePool::max_pool_backward(const Tensor& gy, const Tensor& position, const PoolGeometry&, Tensor& gx) const {
  dispatch_float(gy.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>();
    const auto gxs = gx.data<Float>();
    const auto positions = position.data<int32_t>();
    const auto channels = static_cast<size_t>(gx.size(3));
    const size_t outputs_per_image = gys.size() / static_cast<size_t>(gy.size(0));
    const size_t inputs_per_image = gxs.size() / static_cast<size_t>(gy.size(0));
    std::ranges::fill(gxs, Float(0));
    for (size_t i = 0; i < gys.size(); ++i)
      gxs[i / outputs_per_image * inputs_per_image + static_cast<size_t>(positions[i]) * channels + i % channels] +=
          gys[i];
  });
}

}  // namespace apotnet
