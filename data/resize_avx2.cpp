#include <immintrin.h>

#include <cstring>

#include "data/resize_taps.h"

namespace apotnet {
namespace {

// The bytes of a pixel as four integers, the last of no meaning. The last pixel of a row may end the memory.
__m128i pixel_at(const uint8_t* pixel, bool last) {
  uint32_t bytes = 0;
  std::memcpy(&bytes, pixel, last ? 3 : 4);
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(static_cast<int>(bytes)));
}

void resize_row(const uint8_t* row, int width, const Taps& taps, uint8_t* out) {
  for (const Taps::Range& range : taps.ranges) {
    const int32_t* weights = taps.weights.data() + range.weights;
    const uint8_t* in = row + ptrdiff_t{3} * range.first;
    const bool at_end = range.first + range.count == width;
    const int inner = at_end ? range.count - 1 : range.count;
    __m128i sum = _mm_set1_epi32(Taps::kHalf);
    for (int i = 0; i < inner; ++i)
      sum = _mm_add_epi32(sum, _mm_mullo_epi32(pixel_at(in + 3 * i, false), _mm_set1_epi32(weights[i])));
    if (at_end)
      sum = _mm_add_epi32(sum, _mm_mullo_epi32(pixel_at(in + 3 * inner, true), _mm_set1_epi32(weights[inner])));
    const __m128i words = _mm_srai_epi32(sum, Taps::kPrecisionBits);
    const int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(_mm_packs_epi32(words, words), words));
    std::memcpy(out, &bytes, 3);
    out += 3;
  }
}

void blend_rows(const uint8_t* rows, size_t bytes, const int32_t* weights, int count, uint8_t* out) {
  size_t x = 0;
  for (; x + 16 <= bytes; x += 16) {
    __m256i low = _mm256_set1_epi32(Taps::kHalf), high = low;
    const uint8_t* in = rows + x;
    for (int i = 0; i < count; ++i, in += bytes) {
      const __m256i weight = _mm256_set1_epi32(weights[i]);
      const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
      low = _mm256_add_epi32(low, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(values), weight));
      high = _mm256_add_epi32(high, _mm256_mullo_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(values, 8)), weight));
    }
    const __m256i words = _mm256_permute4x64_epi64(
        _mm256_packs_epi32(_mm256_srai_epi32(low, Taps::kPrecisionBits), _mm256_srai_epi32(high, Taps::kPrecisionBits)),
        0xD8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x),
                     _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
  for (; x < bytes; ++x) {
    int32_t sum = Taps::kHalf;
    for (int i = 0; i < count; ++i) sum += rows[static_cast<size_t>(i) * bytes + x] * weights[i];
    out[x] = round_to_byte(sum);
  }
}

}  // namespace

const ResizeLoops kAvx2Resize{resize_row, blend_rows};

}  // namespace apotnet
