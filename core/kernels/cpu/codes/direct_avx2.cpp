#include <immintrin.h>

#include "core/kernels/cpu/codes/direct.h"

namespace apotnet {
namespace {

// Groups [first, last) of window row `row` for P pixels and 16 outputs, added to 16-bit sums.
template <int P>
inline void add_products(const DirectStrip& s, const uint8_t* window, const int8_t* weights, int64_t row, int64_t first,
                         int64_t last, __m256i (&low)[P], __m256i (&high)[P]) {
  const uint8_t* input = window + row * s.row_stride;
  const int8_t* w = weights + row * s.groups * 64;
  for (int64_t g = first; g < last; ++g) {
    const __m256i w_low = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + g * 64));
    const __m256i w_high = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + g * 64 + 32));
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      int32_t four;
      __builtin_memcpy(&four, input + p * s.pixel_stride + g * 4, 4);
      const __m256i x = _mm256_set1_epi32(four);
      low[p] = _mm256_add_epi16(low[p], _mm256_maddubs_epi16(x, w_low));
      high[p] = _mm256_add_epi16(high[p], _mm256_maddubs_epi16(x, w_high));
    }
  }
}

// Adds the two lanes of each output in 32 bits and stores them, or adds them to what is there.
inline void store_sums(__m256i sums16, bool first_block, int32_t* to) {
  auto* at = reinterpret_cast<__m256i*>(to);
  const __m256i sums = _mm256_madd_epi16(sums16, _mm256_set1_epi16(1));
  _mm256_storeu_si256(at, first_block ? sums : _mm256_add_epi32(sums, _mm256_loadu_si256(at)));
}

template <int P>
void tile(const DirectStrip& s, int64_t pixel, int64_t block) {
  const uint8_t* window = s.input + pixel * s.pixel_stride;
  const int8_t* weights = s.weights + block * s.kernel_h * s.groups * 64;
  int32_t* sums = s.sums + pixel * 16 * s.output_blocks + block * 16;
  bool first_block = true;
  for (int64_t row = 0; row < s.kernel_h;) {
    for (int64_t g = 0; g < s.groups; g += s.widening_groups) {
      __m256i low[P] = {}, high[P] = {};
      const int64_t end = g + s.widening_groups < s.groups ? g + s.widening_groups : s.groups;
      if (s.whole_window)
        for (int64_t i = 0; i < s.kernel_h; ++i) add_products<P>(s, window, weights, i, 0, s.groups, low, high);
      else
        add_products<P>(s, window, weights, row, g, end, low, high);
      for (int p = 0; p < P; ++p) {
        store_sums(low[p], first_block, sums + p * 16 * s.output_blocks);
        store_sums(high[p], first_block, sums + p * 16 * s.output_blocks + 8);
      }
      first_block = false;
    }
    row = s.whole_window ? s.kernel_h : row + 1;
  }
}

}  // namespace

void avx2_direct(const DirectStrip& strip) {
  for (int64_t block = 0; block < strip.output_blocks; ++block)
    if (strip.pixels < 4)
      for (int64_t p = 0; p < strip.pixels; ++p) tile<1>(strip, p, block);
    else
      for (int64_t p = 0; p < strip.pixels; p += 4) tile<4>(strip, p + 4 > strip.pixels ? strip.pixels - 4 : p, block);
}

}  // namespace apotnet
