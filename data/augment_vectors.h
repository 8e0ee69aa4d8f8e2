#pragma once

#include <cstddef>
#include <cstdint>

namespace apotnet {

/// A crop in the output's coordinates: rows [top, bottom) and columns [left, right) show the picture, the rest is
/// black.
struct VisiblePart {
  int height, width, channels;
  int top, bottom, left, right;
  const uint8_t* first;    ///< the leftmost source pixel of the first visible row; null when nothing is visible
  ptrdiff_t source_bytes;  ///< from one source row to the next
  bool mirror;             ///< each visible row is the source's from right to left
};

/// Normalisation by products, for 24 elements: whole pixels where the channels divide 24.
///
///   q = fma(v, a, v * b)        a + b = 1 / 255 to 48 bits
///   y = fma(q - m, c, (q - m) * d)    c + d = 1 / std to 48 bits
///
/// gives the bits of the two divisions unless a quotient lies within 2^-47 of the middle between two floats. There are
/// only 256 values per channel, so Normaliser tries them all and offers the vectors only when every one is right.
struct NormaliserVectors {
  static constexpr int kElements = 24;
  alignas(32) float mean[kElements], factor[kElements], factor_rest[kElements], black[kElements];
  float byte_factor, byte_factor_rest;
  alignas(16) uint8_t mirrored[3][16];  ///< output 8 j + i of a mirrored block is byte 8 - 4 j + mirrored[j][i] of it
};

/// Exists on x86-64 only. Channels must be among those that have vectors: 1, 2, 3, 4, 6 and 8.
void place_and_normalise_avx2(const VisiblePart& part, const NormaliserVectors& vectors, float* out);

}  // namespace apotnet
