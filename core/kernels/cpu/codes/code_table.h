#pragma once

#include <cstdint>

namespace apotnet {

class LevelSet;

/// The code of every half step m = floor(2 K z), 0 <= m <= top (F2), for scalar and for vector code. Plain data.
///
/// Vectors look up bytes 16 at a time (pshufb). Two chains of 8 tables cover m < 128 and m >= 128; within a chain,
/// adding 112 - 16 h with saturation sets the top bit, which makes pshufb return 0, for every m beyond table h, so that
/// table h holds T_h xor T_(h+1) and the xor of all look-ups leaves the right entry.
struct CodeTable {
  int32_t top = 0;             ///< 2 K
  bool every_integer = false;  ///< uniform levels: the code is (m + 1) / 2 and there are no chains
  int32_t tables[2] = {0, 0};  ///< of each chain
  alignas(64) uint8_t chain[2][8][16] = {};
  uint8_t code[512] = {};  ///< by m

  /// Whether vector code can look up: all sets but non-uniform ones with top > 255.
  bool in_vectors() const { return every_integer || tables[0] > 0; }
};

/// Error(internal) for a set whose activations do not fit u8.
CodeTable make_code_table(const LevelSet& levels);

}  // namespace apotnet
