// The tiles of few_channels.h over a `Sixteen` of the instruction set: sixteen floats with load, broadcast, fused
// multiply-add and store. No #pragma once: included inside a namespace of each file.

template <int P>
inline void tile(const FewChannelsStrip& s, int64_t pixel, int64_t block) {
  const float* w = s.weights + block * s.kernel_h * s.taps * 16;
  Sixteen sums[P];
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) sums[p] = Sixteen::zero();
  for (int64_t row = 0; row < s.kernel_h; ++row) {
    const float* input = s.input + pixel * s.pixel_stride + row * s.row_stride;
    for (int64_t tap = 0; tap < s.taps; ++tap, w += 16) {
      const Sixteen weights = Sixteen::load(w);
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sums[p].add_product(input[p * s.pixel_stride + tap], weights);
    }
  }
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) sums[p].store(s.y + ((pixel + p) * s.output_blocks + block) * 16);
}

inline void few_channels(const FewChannelsStrip& s) {
  for (int64_t block = 0; block < s.output_blocks; ++block)
    if (s.pixels < kPixels)
      for (int64_t p = 0; p < s.pixels; ++p) tile<1>(s, p, block);
    else
      for (int64_t p = 0; p < s.pixels; p += kPixels)
        tile<kPixels>(s, p + kPixels > s.pixels ? s.pixels - kPixels : p, block);
}
