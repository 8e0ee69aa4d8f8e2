#pragma once

#include <cstdint>

#include "core/quant/projection.h"

namespace apotnet {

class LevelSet;

/// The code of every half step m = floor(2 K z), 0 <= m <= top (F2). Plain data: vector code looks up bytes 16 entries
/// at a time and wants whole parts of 16, zero behind the top.
struct CodeTable {
  int32_t top = 0;             ///< 2 K
  bool every_integer = false;  ///< uniform levels: the code is (m + 1) / 2, which needs no look-up
  bool ties_to_lower = false;
  uint8_t code[512] = {};

  /// The code of z, which is clamped to [0, 1]; a NaN takes level 0.
  uint8_t at(float z) const {
    const float clamped = z > 0 ? (z < 1 ? z : 1) : 0;
    return code[half_steps(clamped, top / 2, ties_to_lower)];
  }

  /// Whether a half step fits a byte, or no look-up is needed: else vector code leaves it to the plain loops.
  bool in_vectors() const { return !ties_to_lower && (every_integer || top < 256); }
};

/// Error(internal) for a set whose magnitudes do not fit u8.
CodeTable make_code_table(const LevelSet& levels);

}  // namespace apotnet
