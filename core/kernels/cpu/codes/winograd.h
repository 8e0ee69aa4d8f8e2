#pragma once

#include <cstdint>

namespace apotnet {

/// Tiles of 2x2 output pixels as the Winograd kernels see them: `tile_rows` rows of `tiles_per_row`. Plain data, as in
/// direct.h.
struct WinogradStrip {
  const uint8_t* input;  ///< first byte of the first tile's 4x4 window
  int64_t row_stride;    ///< bytes from one row of the frame to the next
  int64_t channels;      ///< a multiple of 16
  int64_t tile_rows, tiles_per_row;
  int64_t rows, width;    ///< output pixels wanted; the last row and column of an odd image are computed and dropped
  const int8_t* weights;  ///< transformed, packed for the kernel
  const void* start;      ///< [16 positions][16 * output_blocks] the sums start from -offset * sum of weights
  int64_t output_blocks;
  uint8_t offset;  ///< 2 a_max, added to inputs that may be negative
  int32_t* sums;   ///< [rows][width][16 * output_blocks]
  uint8_t* scratch;
};

// Integer Winograd F(2x2, 3x3): 16 products for a tile of 4 outputs instead of 36 (Lavin and Gray, 2016):
//   Y = A^T [ (G w G^T) * (B^T d B) ] A
// All integer: G is scaled by 2 on both sides, so Y is 4 times the sums and a final shift by 2 is exact. B^T d B of
// codes in [0, a] lies in [0, 4a] at position (1, 1) and in [-2a, 2a] elsewhere; 2a is added there, so that it is u8 (a
// <= 63), and taken back by the value that the sums start from.
//   avx2_winograd_codes  16-bit sums, exact where 4 * every output fits 16 bits: all steps wrap, only the end must fit
//                  (weights [position][outputs / 16][channels / 2][16][2]; start s16)
//   vnni_winograd_codes  32-bit sums, always exact (weights [position][outputs / 16][channels / 4][16][4]; start s32)
// Vertical transforms run over whole rows of the frame, horizontal ones over the channels of a tile; then a small
// matrix product per position over 4 or 8 tiles x 32 outputs, and the inverse transform of those.
void avx2_winograd_codes(const WinogradStrip& strip);
void vnni_winograd_codes(const WinogradStrip& strip);

}  // namespace apotnet
