#include <algorithm>

#include "core/base/parallel.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace {

// The pixels of a window that lie in the image, in one direction.
struct Extent {
  int64_t first, end;

  Extent(int64_t output, int64_t size, const PoolGeometry& g)
      : first(std::max<int64_t>(0, output * g.stride - g.padding)),
        end(std::min(size, output * g.stride - g.padding + g.window)) {}
};

}  // namespace

void CpuPool::max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const {
  const int64_t height = x.size(1), width = x.size(2), channels = x.size(3), rows = y.size(1), columns = y.size(2);
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  int32_t* positions = position.data<int32_t>().data();
  parallel_for(y.size(0) * rows, [&](int64_t row) {
    const float* image = xs + row / rows * height * width * channels;
    const Extent down(row % rows, height, geometry);
    for (int64_t column = 0; column < columns; ++column) {
      const Extent across(column, width, geometry);
      const int64_t first = down.first * width + across.first, to = (row * columns + column) * channels;
      loops().largest_of_window(channels, image + first * channels, down.end - down.first, across.end - across.first,
                                width, static_cast<int32_t>(first), ys + to, positions + to);
    }
  });
}

}  // namespace apotnet
