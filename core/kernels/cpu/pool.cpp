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
      float* to = ys + (row * columns + column) * channels;
      int32_t* at = positions + (row * columns + column) * channels;
      const int64_t begin = down.first * width + across.first;
      std::copy_n(image + begin * channels, channels, to);
      std::fill_n(at, channels, static_cast<int32_t>(begin));
      for (int64_t i = down.first; i < down.end; ++i)
        for (int64_t j = across.first; j < across.end; ++j)
          loops().keep_larger(channels, image + (i * width + j) * channels, static_cast<int32_t>(i * width + j), to,
                              at);
    }
  });
}

}  // namespace apotnet
