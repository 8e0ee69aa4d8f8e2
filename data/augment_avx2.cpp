// Crop, mirror and normalise without a table and without a copy: the picture's bytes are read where they lie.
// Layout: a row is black | picture | black. The picture goes in blocks of 24 elements, whole pixels for 1, 2, 3, 4, 6
// and 8 channels; a mirrored row only walks backwards and shuffles each block's pixels. The last block of a row
// overlaps the one before, so there are no left-over elements. Bound: 4 products and 10 instructions per 8 elements,
// less than storing a batch that has left the cache.
#include <immintrin.h>

#include "data/augment_vectors.h"

namespace apotnet {
namespace {

constexpr ptrdiff_t kBlock = NormaliserVectors::kElements;

// Black elements from a pixel's first channel on; `count` is of whole pixels.
void fill_black(ptrdiff_t count, const NormaliserVectors& vectors, float* to) {
  if (count < kBlock) {
    for (ptrdiff_t i = 0; i < count; ++i) to[i] = vectors.black[i];
    return;
  }
  const auto block = [&](ptrdiff_t at) {
    for (int j = 0; j < 3; ++j) _mm256_storeu_ps(to + at + 8 * j, _mm256_load_ps(vectors.black + 8 * j));
  };
  for (ptrdiff_t at = 0; at + kBlock <= count; at += kBlock) block(at);
  block(count - kBlock);
}

inline __m256 normalise(__m256 x, const NormaliserVectors& v, int j) {
  const __m256 q =
      _mm256_fmadd_ps(x, _mm256_set1_ps(v.byte_factor), _mm256_mul_ps(x, _mm256_set1_ps(v.byte_factor_rest)));
  const __m256 difference = _mm256_sub_ps(q, _mm256_load_ps(v.mean + 8 * j));
  return _mm256_fmadd_ps(difference, _mm256_load_ps(v.factor + 8 * j),
                         _mm256_mul_ps(difference, _mm256_load_ps(v.factor_rest + 8 * j)));
}

// 24 elements from the 24 bytes at `from`, in their order or with the pixels reversed.
template <bool kMirror>
inline void place_block(const uint8_t* from, const NormaliserVectors& v, float* to) {
  for (int j = 0; j < 3; ++j) {
    const int load = kMirror ? 8 - 4 * j : 4 * j;
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + load));
    const __m128i order = _mm_load_si128(reinterpret_cast<const __m128i*>(kMirror ? v.mirrored[j] : v.straight[j]));
    const __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, order)));
    _mm256_storeu_ps(to + 8 * j, normalise(x, v, j));
  }
}

// `count` elements of whole pixels; the picture's part of one row.
template <bool kMirror>
inline void place_row(const uint8_t* from, ptrdiff_t count, int channels, const NormaliserVectors& v, float* to) {
  if (count >= kBlock) {
    for (ptrdiff_t at = 0; at + kBlock <= count; at += kBlock)
      place_block<kMirror>(kMirror ? from + count - kBlock - at : from + at, v, to + at);
    place_block<kMirror>(kMirror ? from : from + count - kBlock, v, to + count - kBlock);
    return;
  }
  // A narrow row: as one block of copied bytes.
  alignas(32) uint8_t bytes[kBlock] = {};
  alignas(32) float values[kBlock];
  for (ptrdiff_t i = 0; i < count; ++i) {
    const ptrdiff_t channel = i % channels;
    bytes[i] = from[kMirror ? count - channels - i + 2 * channel : i];
  }
  place_block<false>(bytes, v, values);
  for (ptrdiff_t i = 0; i < count; ++i) to[i] = values[i];
}

template <bool kMirror>
void place(const VisiblePart& part, const NormaliserVectors& v, float* out) {
  const ptrdiff_t row = ptrdiff_t{part.width} * part.channels;
  const ptrdiff_t left = ptrdiff_t{part.left} * part.channels, right = ptrdiff_t{part.right} * part.channels;
  fill_black(part.top * row, v, out);
  const uint8_t* from = part.first;
  for (int y = part.top; y < part.bottom; ++y, from += part.source_bytes) {
    float* to = out + y * row;
    fill_black(left, v, to);
    place_row<kMirror>(from, right - left, part.channels, v, to + left);
    fill_black(row - right, v, to + right);
  }
  fill_black((part.height - part.bottom) * row, v, out + part.bottom * row);
}

}  // namespace

void place_and_normalise_avx2(const VisiblePart& part, const NormaliserVectors& vectors, float* out) {
  if (!part.first)
    fill_black(ptrdiff_t{part.height} * part.width * part.channels, vectors, out);
  else if (part.mirror)
    place<true>(part, vectors, out);
  else
    place<false>(part, vectors, out);
}

}  // namespace apotnet
