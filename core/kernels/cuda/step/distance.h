#pragma once

#include "core/kernels/cuda/levels.h"
#include "core/kernels/cuda/mma.h"

// What the gradients of a quantizer need of a value that it has rounded: whether it is above alpha, whether a ReLU has
// let it through, and how far it lies from its level. Beside the code, a byte holds that, where the value itself would
// be a float. Distances are at most half the gap to the next level, and of that 1/64 to 1/128 is a unit.

namespace apotnet::cuda {

/// Places in the table of units, one for each code.
inline constexpr int kDistanceTable = 256;

class Distances {
 public:
  /// `table` is filled by fill().
  __device__ Distances(const Levels& levels, const uint8_t* table) : table_(table), k_(static_cast<float>(levels.k)) {}

  /// By all threads of the block; a barrier must follow.
  __device__ static void fill(const Levels& levels, uint8_t* table) {
    for (int i = static_cast<int>(threadIdx.x); i < levels.count; i += kThreads) {
      const int code = levels.codes[i];
      const int below = i > 0 ? code - levels.codes[i - 1] : 0;
      const int above = i + 1 < levels.count ? levels.codes[i + 1] - code : 0;
      int units = 8;  // 2^units in the distance of two codes: half a gap is at most 2^7 of them
      while (1 << (8 - units) < max(below, above)) --units;
      table[code] = static_cast<uint8_t>(units);
    }
  }

  /// Of a value behind a ReLU, z = min(value, alpha) / alpha, and its code.
  __device__ int8_t of(float value, float alpha, float z, int code) const {
    const float units = fmaf(-k_, z, static_cast<float>(code)) * power_of_two(table_[code]);
    const int inside = __float2int_rn(fminf(fmaxf(units, -127.0f), 126.0f));
    return static_cast<int8_t>(value > alpha ? kAbove : value > 0 ? inside : kNothing);
  }
  __device__ static bool is_above(int distance) { return distance == kAbove; }
  __device__ static bool is_positive(int distance) { return distance != kNothing; }
  /// What the value's gradient counts for in alpha's, times K (F8).
  __device__ float alpha_factor(int distance, int code) const {
    if (is_above(distance)) return k_;
    return is_positive(distance) ? static_cast<float>(distance) * power_of_two(-table_[code]) : 0.0f;
  }

 private:
  static constexpr int kAbove = 127, kNothing = -128;

  __device__ static float power_of_two(int exponent) { return float_of(static_cast<Word>(127 + exponent) << 23); }

  const uint8_t* table_;
  float k_;  // the code of alpha
};

}  // namespace apotnet::cuda
