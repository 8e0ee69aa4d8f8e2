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

// In registers: `out` may alias what is in memory, so that would be read again for every block.
struct Constants {
  __m256 mean[3], factor[3], factor_rest[3], byte_factor, byte_factor_rest;
  __m128i reversed[3];
};

Constants load(const NormaliserVectors& v) {
  Constants c;
  for (int j = 0; j < 3; ++j) {
    c.mean[j] = _mm256_load_ps(v.mean + 8 * j);
    c.factor[j] = _mm256_load_ps(v.factor + 8 * j);
    c.factor_rest[j] = _mm256_load_ps(v.factor_rest + 8 * j);
    c.reversed[j] = _mm_load_si128(reinterpret_cast<const __m128i*>(v.mirrored[j]));
  }
  c.byte_factor = _mm256_set1_ps(v.byte_factor);
  c.byte_factor_rest = _mm256_set1_ps(v.byte_factor_rest);
  return c;
}

// Black elements from a pixel's first channel on; `count` is of whole pixels.
inline void fill_black(ptrdiff_t count, const NormaliserVectors& vectors, float* to) {
  if (count < kBlock) {
    for (ptrdiff_t i = 0; i < count; ++i) to[i] = vectors.black[i];
    return;
  }
  const __m256 black[3] = {_mm256_load_ps(vectors.black), _mm256_load_ps(vectors.black + 8),
                           _mm256_load_ps(vectors.black + 16)};
  const auto block = [&](ptrdiff_t at) {
    for (int j = 0; j < 3; ++j) _mm256_storeu_ps(to + at + 8 * j, black[j]);
  };
  for (ptrdiff_t at = 0; at + kBlock < count; at += kBlock) block(at);
  block(count - kBlock);
}

// The bytes of outputs 8 j to 8 j + 7 of a block, from 16 loaded around them where the pixels are reversed.
template <bool kMirror>
inline __m128i eight_bytes(const uint8_t* from, const Constants& c, int j) {
  if constexpr (!kMirror) return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8 * j));
  return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 8 - 4 * j)), c.reversed[j]);
}

// 24 elements from the 24 bytes at `from`, in their order or with the pixels reversed.
template <bool kMirror>
inline void place_block(const uint8_t* from, const Constants& c, float* to) {
  for (int j = 0; j < 3; ++j) {
    const __m256 x = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight_bytes<kMirror>(from, c, j)));
    const __m256 q = _mm256_fmadd_ps(x, c.byte_factor, _mm256_mul_ps(x, c.byte_factor_rest));
    const __m256 difference = _mm256_sub_ps(q, c.mean[j]);
    const __m256 y = _mm256_fmadd_ps(difference, c.factor[j], _mm256_mul_ps(difference, c.factor_rest[j]));
    _mm256_storeu_ps(to + 8 * j, y);
  }
}

// `count` elements of whole pixels, at least a block: the picture's part of one row.
template <bool kMirror>
inline void place_row(const uint8_t* from, ptrdiff_t count, const Constants& c, float* to) {
  for (ptrdiff_t at = 0; at + kBlock < count; at += kBlock)
    place_block<kMirror>(kMirror ? from + count - kBlock - at : from + at, c, to + at);
  place_block<kMirror>(kMirror ? from : from + count - kBlock, c, to + count - kBlock);
}

// The same for a row narrower than a block: as the beginning of one, mirrored byte by byte.
void place_narrow_row(const uint8_t* from, ptrdiff_t count, int channels, bool mirror, const NormaliserVectors& v,
                      float* to) {
  uint8_t bytes[kBlock] = {};
  float values[kBlock];
  for (ptrdiff_t i = 0; i < count; ++i) bytes[i] = from[mirror ? count - channels - i + 2 * (i % channels) : i];
  place_block<false>(bytes, load(v), values);
  for (ptrdiff_t i = 0; i < count; ++i) to[i] = values[i];
}

template <bool kMirror>
void place(const VisiblePart& part, const NormaliserVectors& v, float* out) {
  const ptrdiff_t row = ptrdiff_t{part.width} * part.channels;
  const ptrdiff_t left = ptrdiff_t{part.left} * part.channels, right = ptrdiff_t{part.right} * part.channels;
  fill_black(part.top * row, v, out);
  const Constants constants = load(v);
  const uint8_t* from = part.first;
  for (int y = part.top; y < part.bottom; ++y, from += part.source_bytes) {
    float* to = out + y * row;
    fill_black(left, v, to);
    if (right - left < kBlock)
      place_narrow_row(from, right - left, part.channels, kMirror, v, to + left);
    else
      place_row<kMirror>(from, right - left, constants, to + left);
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
