#pragma once

#include <cstdint>

namespace apotnet {

/// Output rows of a stride-1 convolution as the look-up kernel sees them. Plain data, as in direct.h. Positions count
/// pixels of the frame row after row, `pitch` of them in a row: a tap of the window is then one distance.
struct LookupStrip {
  const uint8_t* input;  ///< first byte of the first row of the first window
  int64_t channels;      ///< a multiple of 16
  int64_t pitch;
  int64_t rows, width;  ///< output pixels
  int64_t kernel_h;
  const uint8_t* index_of_code;  ///< [16]
  const uint8_t* tables;         ///< [outputs / 4][step][4 outputs][16]; a step is a tap and a pair of channels
  const int64_t* distances;      ///< [step] from a position to its index in the planes
  int64_t all_steps;
  int64_t steps;           ///< of which the entries' sum fits 8 bits
  const int32_t* offsets;  ///< [padded outputs] sums of what was added to the entries
  int64_t padded_outputs;
  int32_t* sums;     ///< [rows][width][padded_outputs]
  uint8_t* scratch;  ///< planes of indices, then 16 * 64 totals of 16 bits
  int64_t plane;     ///< bytes of a plane
};

// Products by looking them up: activations of 2 bits have four codes, so two neighbouring channels make an index of 4
// bits, and the 16 sums of their two products with an output's weights are a table that one vpshufb looks up for 32
// pixels at once: 64 exact products per instruction. Codes become planes of indices [channels / 2][position] first. An
// offset makes the entries of a table positive; `steps` of them add up in 8 bits, then in 16 bits, even and odd pixels
// apart; both bounds were checked when the tables were made. Positions between two rows are computed and dropped.
void avx2_lookup(const LookupStrip& strip);

}  // namespace apotnet
