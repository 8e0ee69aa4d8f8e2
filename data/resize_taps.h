#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace apotnet {

/// Which inputs a line of outputs is made of, in one direction.
struct Taps {
  static constexpr int kPrecisionBits = 32 - 8 - 2;  ///< 8 bits of a pixel, 2 of headroom
  static constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

  struct Range {
    int first = 0, count = 0;
    size_t weights = 0;  ///< where its weights begin
  };
  std::vector<Range> ranges;     ///< one per output
  std::vector<int32_t> weights;  ///< 22 fractional bits, summing up to about 1
};

/// The two passes of a resize, as plain loops and in vectors: the same bits.
struct ResizeLoops {
  /// `row` [width, 3] -> `out` [outputs, 3].
  void (*resize_row)(const uint8_t* row, int width, const Taps& taps, uint8_t* out);
  /// The weighted sum of `count` rows of `bytes` bytes.
  void (*blend_rows)(const uint8_t* rows, size_t bytes, const int32_t* weights, int count, uint8_t* out);
};
extern const ResizeLoops kPlainResize;
extern const ResizeLoops kAvx2Resize;  ///< exists on x86-64 only

inline uint8_t round_to_byte(int32_t sum) { return static_cast<uint8_t>(std::min(sum >> Taps::kPrecisionBits, 255)); }

}  // namespace apotnet
