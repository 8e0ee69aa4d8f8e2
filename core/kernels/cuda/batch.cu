#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {
namespace {

struct Images {
  const uint8_t* images;
  const int32_t* labels;
  const float* tables;
  int height, width, channels, pad;
};

// One pixel a thread; the first pixel of an image brings its label.
__global__ void __launch_bounds__(kThreads)
    gather_kernel(int64_t pixels, Images data, const int32_t* placements, float* out, int32_t* labels) {
  for_each_index(pixels, [&](int64_t i) {
    const int x = static_cast<int>(i % data.width), y = static_cast<int>(i / data.width % data.height);
    const int64_t image = i / data.width / data.height;
    const Pack<int32_t, 4> place = load<4>(placements, image * 4);  // sample, top, left, mirrored
    if (x == 0 && y == 0) labels[image] = data.labels[place[0]];
    const int row = y + place[1] - data.pad, column = (place[3] ? data.width - 1 - x : x) + place[2] - data.pad;
    const bool inside = row >= 0 && row < data.height && column >= 0 && column < data.width;
    const int64_t from = ((int64_t{place[0]} * data.height + row) * data.width + column) * data.channels;
    for (int c = 0; c < data.channels; ++c)
      out[i * data.channels + c] = data.tables[c * 256 + (inside ? data.images[from + c] : 0)];
  });
}

}  // namespace

void CudaBatch::gather_batch(const ResidentImages& data, const Tensor& placements, Tensor& out, Tensor& labels) const {
  const auto size = [&](int i) { return static_cast<int>(out.size(i)); };
  const int64_t pixels = out.size(0) * out.size(1) * out.size(2);
  launch({"augment", out.bytes() / 4, out.bytes()}, gather_kernel, blocks_for(pixels), pixels,
         Images{input<uint8_t>(data.images), input<int32_t>(data.labels), input<float>(data.tables), size(1), size(2),
                size(3), static_cast<int>(data.pad)},
         input<int32_t>(placements), output<float>(out), output<int32_t>(labels));
}

}  // namespace apotnet::cuda
