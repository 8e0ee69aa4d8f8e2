#include <immintrin.h>

#include "core/kernels/cpu/codes/winograd.h"

namespace apotnet {
namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint8_t BytesWidest __attribute__((vector_size(32)));
constexpr int64_t kWidest = 32;
#include "core/kernels/cpu/codes/winograd_body.h"

constexpr int64_t kTiles = 8;  // of a block

// products[tile][16 * B] of one position, kTiles tiles and B blocks of outputs.
template <int B>
inline void multiply(const uint8_t* input, int64_t channels, const int8_t* weights, int64_t block_bytes,
                     const int32_t* start, int32_t* products) {
  __m512i sums[kTiles][B];
#pragma GCC unroll 8
  for (int t = 0; t < kTiles; ++t)
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) sums[t][b] = _mm512_loadu_si512(start + 16 * b);
  for (int64_t c = 0; c < channels; c += 4, weights += 64) {
    __m512i w[B];
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) w[b] = _mm512_load_si512(weights + b * block_bytes);
#pragma GCC unroll 8
    for (int t = 0; t < kTiles; ++t) {
      int32_t four;
      __builtin_memcpy(&four, input + t * channels + c, 4);
      const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b) sums[t][b] = _mm512_dpbusd_epi32(sums[t][b], x, w[b]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < kTiles; ++t)
#pragma GCC unroll 2
    for (int b = 0; b < B; ++b) _mm512_store_si512(products + (t * B + b) * 16, sums[t][b]);
}

// A^T M A / 4 of one tile and 16 outputs; m[position] lie `pitch` values apart.
inline void inverse(const int32_t* m, int64_t pitch, __m512i (&y)[2][2]) {
  __m512i columns[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i m0 = _mm512_load_si512(m + j * pitch), m1 = _mm512_load_si512(m + (4 + j) * pitch),
                  m2 = _mm512_load_si512(m + (8 + j) * pitch), m3 = _mm512_load_si512(m + (12 + j) * pitch);
    columns[0][j] = _mm512_add_epi32(_mm512_add_epi32(m0, m1), m2);
    columns[1][j] = _mm512_sub_epi32(_mm512_sub_epi32(m1, m2), m3);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const auto& c = columns[i];
    y[i][0] = _mm512_srai_epi32(_mm512_add_epi32(_mm512_add_epi32(c[0], c[1]), c[2]), 2);
    y[i][1] = _mm512_srai_epi32(_mm512_sub_epi32(_mm512_sub_epi32(c[1], c[2]), c[3]), 2);
  }
}

template <int B>
void block_of_outputs(const WinogradStrip& s, const uint8_t* transformed, int64_t tiles, int64_t first_tile,
                      int64_t block, int32_t* products) {
  const int64_t c = s.channels, outputs = 16 * s.output_blocks, block_bytes = c * 16;
  const auto* start = static_cast<const int32_t*>(s.start);
  for (int64_t position = 0; position < 16; ++position)
    multiply<B>(transformed + (position * tiles + first_tile) * c, c,
                s.weights + (position * s.output_blocks + block) * block_bytes, block_bytes,
                start + position * outputs + block * 16, products + position * kTiles * B * 16);
  for (int64_t t = 0; t < kTiles && first_tile + t < s.tile_rows * s.tiles_per_row; ++t) {
    const int64_t y = 2 * ((first_tile + t) / s.tiles_per_row), x = 2 * ((first_tile + t) % s.tiles_per_row);
    int32_t* to = s.sums + (y * s.width + x) * outputs + block * 16;
    for (int b = 0; b < B; ++b) {
      __m512i out[2][2];
      inverse(products + (t * B + b) * 16, kTiles * B * 16, out);
      for (int i = 0; i < 2 && y + i < s.rows; ++i) {
        _mm512_storeu_si512(to + i * s.width * outputs + b * 16, out[i][0]);
        if (x + 1 < s.width) _mm512_storeu_si512(to + (i * s.width + 1) * outputs + b * 16, out[i][1]);
      }
    }
  }
}

}  // namespace

void vnni_winograd(const WinogradStrip& s) {
  const int64_t tiles = rounded_up(s.tile_rows * s.tiles_per_row, kTiles);
  const WinogradScratch scratch = transform_input(s, tiles);
  auto* products = reinterpret_cast<int32_t*>(scratch.products);
  for (int64_t tile = 0; tile < tiles; tile += kTiles) {
    int64_t block = 0;
    for (; block + 2 <= s.output_blocks; block += 2)
      block_of_outputs<2>(s, scratch.transformed, tiles, tile, block, products);
    if (block < s.output_blocks) block_of_outputs<1>(s, scratch.transformed, tiles, tile, block, products);
  }
}

}  // namespace apotnet
