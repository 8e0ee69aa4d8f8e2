#pragma once

#include "core/kernels/cuda/launch.h"
#include "core/quant/projection.h"
#include "core/quant/quantized.h"

namespace apotnet::cuda {

/// A level set as a kernel's argument.
struct Levels {
  int64_t k;
  int32_t count;
  bool ties_to_lower;
  int32_t codes[256];

  explicit Levels(const LevelSet& levels)
      : k(levels.k()),
        count(static_cast<int32_t>(levels.codes().size())),
        ties_to_lower(levels.ties_to_lower()),
        codes{} {
    require(levels.codes().size() <= 256 && k <= INT32_MAX, "a level set too large for the device");
    for (size_t i = 0; i < levels.codes().size(); ++i) codes[i] = static_cast<int32_t>(levels.codes()[i]);
  }

  /// LevelSet::code_of_half_step.
  __device__ int32_t code_of_half_step(int64_t m) const {
    int below = 0, above = count - 1;
    while (below < above) {
      const int middle = (below + above + 1) / 2;
      if (m >= int64_t{codes[middle - 1]} + codes[middle])
        below = middle;
      else
        above = middle - 1;
    }
    return codes[below];
  }
};

/// Codes of 8 bits: K is at most 255, so a table of the 2K + 1 half steps fits shared memory.
inline constexpr int kTableSize = 512;

/// All threads of the block fill `table`; a barrier must follow.
__device__ inline void fill_table(const Levels& levels, uint8_t* table) {
  for (int m = static_cast<int>(threadIdx.x); m <= 2 * static_cast<int>(levels.k); m += kThreads)
    table[m] = static_cast<uint8_t>(levels.code_of_half_step(m));
}

/// The level of z in [0, 1] as a code (F2), by the table for 8-bit codes, else by search; a NaN takes level 0.
template <typename Code, typename Set>
__device__ Code project(float z, const Set& levels, const uint8_t* table) {
  if constexpr (sizeof(Code) == 1)
    return static_cast<Code>(table[half_steps(z, static_cast<int32_t>(levels.k), levels.ties_to_lower)]);
  else
    return static_cast<Code>(levels.code_of_half_step(half_steps(z, levels.k, levels.ties_to_lower)));
}

/// clamp(x / alpha, 0, 1) as std::clamp has it: a NaN stays one.
__device__ inline float clamped(float z, float least) { return z < least ? least : z > 1 ? 1.0f : z; }

/// z = x / alpha for codes of activations: to the last bit below 1, and 2 for everything above. The compiler's division
/// takes a slow path for each zero, and a ReLU makes many. A quotient that is corrected twice by its own remainder is
/// that of a division (Markstein); where remainders underflow, z is so small that its code is 0 either way.
class ClippedQuotient {
 public:
  __device__ explicit ClippedQuotient(float alpha) : alpha_(alpha), reciprocal_(1 / alpha) {}
  __device__ float operator()(float x) const {
    float z = x * reciprocal_;
    z = fmaf(fmaf(-alpha_, z, x), reciprocal_, z);
    z = fmaf(fmaf(-alpha_, z, x), reciprocal_, z);
    return x < alpha_ ? z : x > alpha_ ? 2.0f : x - alpha_ + 1;  // 1, or the NaN that x is
  }

 private:
  float alpha_, reciprocal_;
};

/// The code of z = x / alpha with its sign (F5).
template <typename Code, typename Set>
__device__ Code project_signed(float z, const Set& levels, const uint8_t* table) {
  const float inside = clamped(z, -1.0f);
  const Code code = project<Code>(fabsf(inside), levels, table);
  return inside < 0 ? static_cast<Code>(0 - code) : code;
}

/// step = alpha / K by one thread, and the guard: an alpha that is not positive and finite is trouble.
__device__ inline void store_step(float alpha, float k, float* step, int* trouble) {
  step[0] = alpha / k;
  if (!(alpha > 0) || isinf(alpha)) *trouble = 1;
}
__device__ inline void store_step(const float* alpha, const Levels& levels, float* step, int* trouble) {
  if (blockIdx.x == 0 && threadIdx.x == 0) store_step(alpha[0], static_cast<float>(levels.k), step, trouble);
}

/// What a gradient counts for in alpha's, z not yet clamped (F6).
__device__ inline float signed_alpha_factor(float z, float code, float k) {
  return fabsf(z) > 1 ? (z > 0 ? 1.0f : -1.0f) : code / k - z;
}

}  // namespace apotnet::cuda
