#include <immintrin.h>

#include "core/kernels/cpu/codes/winograd.h"

namespace apotnet {
namespace {

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
typedef uint8_t BytesWidest __attribute__((vector_size(32)));
constexpr int64_t kWidest = 32;
#include "core/kernels/cpu/codes/winograd_body.h"

constexpr int64_t kTiles = 4;  // of a block

// The products of column `j` of positions, four tiles and 16 outputs, and at once the vertical half of the inverse
// transform: halves[2][kTiles][16]. Products never leave the registers.
template <int C>
inline void column_of_products(const WinogradStrip& s, const uint8_t* transformed, int64_t tiles, int64_t block,
                               int64_t j, int32_t* halves) {
  const int64_t c = C > 0 ? C : s.channels, weight_step = 4 * s.output_blocks * c * 16, input_step = 4 * tiles * c;
  const int8_t* weights = s.weights + (j * s.output_blocks + block) * c * 16;
  const uint8_t* input = transformed + j * tiles * c;
  const auto* start = static_cast<const int32_t*>(s.start) + (j * s.output_blocks + block) * 16;
  __m512i sums[4][kTiles];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#pragma GCC unroll 4
    for (int t = 0; t < kTiles; ++t) sums[i][t] = _mm512_loadu_si512(start + 4 * i * s.output_blocks * 16);
  for (int64_t g = 0; g < c; g += 4, weights += 64, input += 4)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m512i w = _mm512_load_si512(weights + i * weight_step);
#pragma GCC unroll 4
      for (int t = 0; t < kTiles; ++t) {
        int32_t four;
        __builtin_memcpy(&four, input + i * input_step + t * c, 4);
        sums[i][t] = _mm512_dpbusd_epi32(sums[i][t], _mm512_set1_epi32(four), w);
      }
    }
#pragma GCC unroll 4
  for (int t = 0; t < kTiles; ++t) {
    const __m512i m1 = sums[1][t], m2 = sums[2][t];
    _mm512_store_si512(halves + t * 16, _mm512_add_epi32(_mm512_add_epi32(sums[0][t], m1), m2));
    _mm512_store_si512(halves + (kTiles + t) * 16, _mm512_sub_epi32(_mm512_sub_epi32(m1, m2), sums[3][t]));
  }
}

// The horizontal half, a quarter of it, and the store of one row (two pixels) of one tile.
inline void store_row(const int32_t* halves, bool second_pixel, int64_t pixel_stride, int32_t* to) {
  constexpr int64_t kColumn = 2 * kTiles * 16;
  const __m512i c0 = _mm512_load_si512(halves), c1 = _mm512_load_si512(halves + kColumn),
                c2 = _mm512_load_si512(halves + 2 * kColumn), c3 = _mm512_load_si512(halves + 3 * kColumn);
  _mm512_storeu_si512(to, _mm512_srai_epi32(_mm512_add_epi32(_mm512_add_epi32(c0, c1), c2), 2));
  if (second_pixel)
    _mm512_storeu_si512(to + pixel_stride, _mm512_srai_epi32(_mm512_sub_epi32(_mm512_sub_epi32(c1, c2), c3), 2));
}

template <int C>
void block_of_outputs(const WinogradStrip& s, const uint8_t* transformed, int64_t tiles, int64_t first_tile,
                      int64_t block, int32_t* halves) {
  const int64_t outputs = 16 * s.output_blocks;
  for (int64_t j = 0; j < 4; ++j)
    column_of_products<C>(s, transformed + first_tile * s.channels, tiles, block, j, halves + j * 2 * kTiles * 16);
  for (int64_t t = 0; t < kTiles && first_tile + t < s.tile_rows * s.tiles_per_row; ++t) {
    const int64_t y = 2 * ((first_tile + t) / s.tiles_per_row), x = 2 * ((first_tile + t) % s.tiles_per_row);
    int32_t* to = s.sums + (y * s.width + x) * outputs + block * 16;
    for (int64_t i = 0; i < 2 && y + i < s.rows; ++i)
      store_row(halves + (i * kTiles + t) * 16, x + 1 < s.width, outputs, to + i * s.width * outputs);
  }
}

}  // namespace

void vnni_winograd_codes(const WinogradStrip& s) {
  const int64_t tiles = rounded_up(s.tile_rows * s.tiles_per_row, kTiles);
  const WinogradScratch scratch = transform_input(s, tiles);
  const auto of_channels = s.channels == 16   ? block_of_outputs<16>
                           : s.channels == 32 ? block_of_outputs<32>
                           : s.channels == 64 ? block_of_outputs<64>
                                              : block_of_outputs<0>;
  auto* halves = reinterpret_cast<int32_t*>(scratch.products);
  for (int64_t block = 0; block < s.output_blocks; ++block)  // its weights stay in the first-level cache
    for (int64_t tile = 0; tile < tiles; tile += kTiles)
      of_channels(s, scratch.transformed, tiles, tile, block, halves);
}

}  // namespace apotnet
