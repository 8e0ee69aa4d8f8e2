#pragma once

#include <cstdint>

namespace apotnet {

/// Neighbouring output pixels of one row, all outputs, as the direct kernels see them. Plain data: the files compiled
/// for one instruction set share nothing else with the rest.
struct DirectStrip {
  const uint8_t* input;   ///< first byte of the first pixel's window
  int64_t pixel_stride;   ///< bytes from one pixel's window to the next
  int64_t row_stride;     ///< bytes from one row of a window to the next
  int64_t pixels;         ///< how many
  const int8_t* weights;  ///< PackedWeights
  int64_t output_blocks, kernel_h, groups;
  bool whole_window;        ///< WideningPlan: 16-bit sums hold a whole window,
  int64_t widening_groups;  ///< or so many groups of a row
  int32_t* sums;            ///< [pixels][16 * output_blocks]
};

// Direct convolution by u8 x s8 products, four input channels and 16 outputs at a time (the packed order makes one step
// one vector of weights): 4 input bytes are broadcast and multiplied with the weights of 16 outputs.
//   avx2_direct  vpmaddubsw + vpaddw: 16-bit sums, exact under the WideningPlan, widened by one vpmaddwd per block;
//                a tile is 4 pixels x 16 outputs = 8 accumulators.
//   vnni_direct  vpdpbusd sums four products straight into 32 bits: always exact; 8 pixels x 32 outputs.
// A row that is no multiple of the tile ends with a tile that overlaps the one before it.
void avx2_direct(const DirectStrip& strip);
void vnni_direct(const DirectStrip& strip);

}  // namespace apotnet
