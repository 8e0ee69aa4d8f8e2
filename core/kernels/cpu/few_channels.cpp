#include "core/kernels/cpu/few_channels.h"

#include <cstring>

#include "core/base/isa.h"
#include "core/base/parallel.h"
#include "core/kernels/cpu/cpu.h"

namespace apotnet {
namespace {

// Weights [outputs / 16][kernel_h][taps][16] of [outputs][kernel_h][taps], zero where there is no output.
std::shared_ptr<Buffer> packed(const Tensor& w) {
  const int64_t blocks = (w.size(0) + 15) / 16, window = w.size(1) * w.size(2) * w.size(3);
  auto buffer = Buffer::allocate(static_cast<size_t>(blocks * window * 16) * sizeof(float), {});
  std::memset(buffer->data(), 0, buffer->bytes());
  auto* to = reinterpret_cast<float*>(buffer->data());
  const float* from = w.data<float>().data();
  for (int64_t o = 0; o < w.size(0); ++o)
    for (int64_t i = 0; i < window; ++i) to[(o / 16 * window + i) * 16 + o % 16] = from[o * window + i];
  return buffer;
}

auto kernel() {
#if defined(__x86_64__)
  if (selected_isa() >= Isa::avx512) return avx512_few_channels;
  if (selected_isa() >= Isa::avx2) return avx2_few_channels;
#endif
  return generic_few_channels;
}

}  // namespace

void generic_few_channels(const FewChannelsStrip& s) {
  for (int64_t p = 0; p < s.pixels; ++p)
    for (int64_t block = 0; block < s.output_blocks; ++block) {
      float* sums = s.y + (p * s.output_blocks + block) * 16;
      for (int64_t o = 0; o < 16; ++o) sums[o] = 0;
      for (int64_t row = 0; row < s.kernel_h; ++row)
        for (int64_t tap = 0; tap < s.taps; ++tap) {
          const float x = s.input[p * s.pixel_stride + row * s.row_stride + tap];
          const float* w = s.weights + ((block * s.kernel_h + row) * s.taps + tap) * 16;
          for (int64_t o = 0; o < 16; ++o) sums[o] += x * w[o];
        }
    }
}

bool fits_few_channels(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry) {
  return x.size(3) <= 4 && geometry.groups == 1 && w.size(0) % 16 == 0;
}

void few_channels_conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) {
  const int64_t h = x.size(1), c = x.size(3), row = x.size(2) * c, pad = geometry.padding;
  const int64_t framed_row = row + 2 * pad * c, framed = (h + 2 * pad) * framed_row;
  const auto weights = packed(w);
  parallel_for(x.size(0), [&](int64_t image) {
    const auto frame = Buffer::allocate(static_cast<size_t>(framed) * sizeof(float), {});
    auto* values = reinterpret_cast<float*>(frame->data());
    std::memset(values, 0, frame->bytes());
    const float* from = x.data<float>().data() + image * h * row;
    for (int64_t i = 0; i < h; ++i)
      std::memcpy(values + (i + pad) * framed_row + pad * c, from + i * row, static_cast<size_t>(row) * sizeof(float));
    for (int64_t i = 0; i < y.size(1); ++i)
      kernel()({.input = values + i * geometry.stride * framed_row,
                .pixel_stride = geometry.stride * c,
                .row_stride = framed_row,
                .pixels = y.size(2),
                .weights = reinterpret_cast<const float*>(weights->data()),
                .output_blocks = w.size(0) / 16,
                .kernel_h = w.size(1),
                .taps = w.size(2) * c,
                .y = y.data<float>().data() + (image * y.size(1) + i) * y.size(2) * y.size(3)});
  });
}

}  // namespace apotnet
