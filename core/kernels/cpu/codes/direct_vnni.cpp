#include <immintrin.h>

#include "core/kernels/cpu/codes/direct.h"

namespace apotnet {
namespace {

// P pixels and B blocks of 16 outputs.
template <int P, int B>
inline void tile(const DirectStrip& s, int64_t pixel, int64_t block) {
  const uint8_t* window = s.input + pixel * s.pixel_stride;
  const int64_t block_bytes = s.kernel_h * s.groups * 64;
  const int8_t* w = s.weights + block * block_bytes;
  __m512i sums[P][B];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) sums[p][b] = _mm512_setzero_si512();
  for (int64_t row = 0; row < s.kernel_h; ++row) {
    const uint8_t* input = window + row * s.row_stride;
    for (int64_t g = 0; g < s.groups; ++g, w += 64, input += 4) {
      __m512i weights[B];
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b) weights[b] = _mm512_load_si512(w + b * block_bytes);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        int32_t four;
        __builtin_memcpy(&four, input + p * s.pixel_stride, 4);
        const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 2
        for (int b = 0; b < B; ++b) sums[p][b] = _mm512_dpbusd_epi32(sums[p][b], x, weights[b]);
      }
    }
  }
  int32_t* to = s.sums + pixel * 16 * s.output_blocks + block * 16;
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) _mm512_storeu_si512(to + p * 16 * s.output_blocks + b * 16, sums[p][b]);
}

template <int P, int B>
void row_of_tiles(const DirectStrip& s, int64_t block) {
  if (s.pixels < P)
    for (int64_t p = 0; p < s.pixels; ++p) tile<1, B>(s, p, block);
  else
    for (int64_t p = 0; p < s.pixels; p += P) tile<P, B>(s, p + P > s.pixels ? s.pixels - P : p, block);
}

}  // namespace

void vnni_direct(const DirectStrip& strip) {
  int64_t block = 0;
  for (; block + 2 <= strip.output_blocks; block += 2) row_of_tiles<8, 2>(strip, block);
  if (block < strip.output_blocks) row_of_tiles<8, 1>(strip, block);
}

}  // namespace apotnet
