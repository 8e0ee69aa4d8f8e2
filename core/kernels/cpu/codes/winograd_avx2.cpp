#include <immintrin.h>

#include "core/kernels/cpu/codes/winograd.h"

namespace apotnet {
namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint8_t BytesWidest __attribute__((vector_size(32)));
constexpr int64_t kWidest = 32;
#include "core/kernels/cpu/codes/winograd_body.h"

constexpr int64_t kTiles = 4;  // of a block

inline __m256i load(const int16_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

// products[tile][16 * B] of one position, kTiles tiles and B blocks of outputs, modulo 2^16.
template <int B>
inline void multiply(const uint8_t* input, int64_t channels, const int8_t* weights, int64_t block_bytes,
                     const int16_t* start, int16_t* products) {
  __m256i sums[kTiles][B];
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t)
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) sums[t][b] = load(start + 16 * b);
  for (int64_t c = 0; c < channels; c += 2, weights += 32) {
    __m256i w[B];
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) w[b] = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights + b * block_bytes));
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) {
      int16_t two;
      __builtin_memcpy(&two, input + t * channels + c, 2);
      const __m256i x = _mm256_set1_epi16(two);
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b) sums[t][b] = _mm256_add_epi16(sums[t][b], _mm256_maddubs_epi16(x, w[b]));
    }
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t)
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) _mm256_store_si256(reinterpret_cast<__m256i*>(products + (t * B + b) * 16), sums[t][b]);
}

// A^T M A / 4 of one tile and 16 outputs; m[position] lie `pitch` values apart.
inline void inverse(const int16_t* m, int64_t pitch, __m256i (&y)[2][2]) {
  __m256i columns[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i m0 = load(m + j * pitch), m1 = load(m + (4 + j) * pitch), m2 = load(m + (8 + j) * pitch),
                  m3 = load(m + (12 + j) * pitch);
    columns[0][j] = _mm256_add_epi16(_mm256_add_epi16(m0, m1), m2);
    columns[1][j] = _mm256_sub_epi16(_mm256_sub_epi16(m1, m2), m3);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const auto& c = columns[i];
    y[i][0] = _mm256_srai_epi16(_mm256_add_epi16(_mm256_add_epi16(c[0], c[1]), c[2]), 2);
    y[i][1] = _mm256_srai_epi16(_mm256_sub_epi16(_mm256_sub_epi16(c[1], c[2]), c[3]), 2);
  }
}

inline void store_widened(int32_t* to, __m256i sums) {
  auto* at = reinterpret_cast<__m256i*>(to);
  _mm256_storeu_si256(at, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums)));
  _mm256_storeu_si256(at + 1, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1)));
}

template <int B>
void block_of_outputs(const WinogradStrip& s, const uint8_t* transformed, int64_t tiles, int64_t first_tile,
                      int64_t block, int16_t* products) {
  const int64_t c = s.channels, outputs = 16 * s.output_blocks, block_bytes = c * 16;
  const auto* start = static_cast<const int16_t*>(s.start);
  for (int64_t position = 0; position < 16; ++position)
    multiply<B>(transformed + (position * tiles + first_tile) * c, c,
                s.weights + (position * s.output_blocks + block) * block_bytes, block_bytes,
                start + position * outputs + block * 16, products + position * kTiles * B * 16);
  for (int64_t t = 0; t < kTiles && first_tile + t < s.tile_rows * s.tiles_per_row; ++t) {
    const int64_t y = 2 * ((first_tile + t) / s.tiles_per_row), x = 2 * ((first_tile + t) % s.tiles_per_row);
    int32_t* to = s.sums + (y * s.width + x) * outputs + block * 16;
    for (int b = 0; b < B; ++b) {
      __m256i out[2][2];
      inverse(products + (t * B + b) * 16, kTiles * B * 16, out);
      for (int i = 0; i < 2 && y + i < s.rows; ++i) {
        store_widened(to + i * s.width * outputs + b * 16, out[i][0]);
        if (x + 1 < s.width) store_widened(to + (i * s.width + 1) * outputs + b * 16, out[i][1]);
      }
    }
  }
}

}  // namespace

void avx2_winograd_codes(const WinogradStrip& s) {
  const int64_t tiles = rounded_up(s.tile_rows * s.tiles_per_row, kTiles);
  const WinogradScratch scratch = transform_input(s, tiles);
  auto* products = reinterpret_cast<int16_t*>(scratch.products);
  for (int64_t tile = 0; tile < tiles; tile += kTiles) {
    int64_t block = 0;
    for (; block + 2 <= s.output_blocks; block += 2)
      block_of_outputs<2>(s, scratch.transformed, tiles, tile, block, products);
    if (block < s.output_blocks) block_of_outputs<1>(s, scratch.transformed, tiles, tile, block, products);
  }
}

}  // namespace apotnet
