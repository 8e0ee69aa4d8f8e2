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

/// The half step whose code stands at place `i` of a table for 8-bit codes: the i-th, or, where ties go to the lower
/// level, the one below the i-th from the top; at the last place that is z = 0.
constexpr int half_step_at(int i, int k, bool ties_to_lower) {
  return !ties_to_lower ? i : i < 2 * k ? 2 * k - 1 - i : 0;
}

/// All threads of the block fill `table` with codes, or with codes times `unit`; a barrier must follow.
template <typename Entry>
__device__ void fill_table(const Levels& levels, Entry* table, Entry unit = 1) {
  const auto k = static_cast<int>(levels.k);
  for (int i = static_cast<int>(threadIdx.x); i <= 2 * k; i += kThreads) {
    const int32_t code = levels.code_of_half_step(half_step_at(i, k, levels.ties_to_lower));
    table[i] = static_cast<Entry>(static_cast<Entry>(code) * unit);
  }
}

/// clamp(z, 0, 1), of a NaN 0.
__device__ inline float clamped(float z) { return fminf(fmaxf(z, 0.0f), 1.0f); }

/// The place in a table for 8-bit codes of half_steps() of clamp(z, 0, 1). Next to 2^23 floats are integers, so a
/// product and a sum rounded down as one are the exact floor, in the lower bits; counted from the top it is what the
/// exact ceiling leaves.
template <typename Set>
__device__ int32_t place_in_table(float z, const Set& levels) {
  constexpr float kIntegers = 8388608;
  const auto two_k = static_cast<float>(2 * static_cast<int32_t>(levels.k));
  const float scale = levels.ties_to_lower ? -two_k : two_k, base = levels.ties_to_lower ? two_k : 0;
  return __float_as_int(__fmaf_rd(clamped(z), scale, kIntegers + base)) - 0x4B000000;
}

/// The level of clamp(z, 0, 1) as a code (F2), by the table for 8-bit codes, else by search; a NaN takes level 0.
template <typename Code, typename Set>
__device__ Code project(float z, const Set& levels, const uint8_t* table) {
  if constexpr (sizeof(Code) == 1)
    return static_cast<Code>(table[place_in_table(z, levels)]);
  else
    return static_cast<Code>(levels.code_of_half_step(half_steps(clamped(z), levels.k, levels.ties_to_lower)));
}

/// z = min(x, alpha) / alpha for codes of activations, to the last bit. The compiler's division takes a slow path for
/// each zero, and a ReLU makes many. A quotient that is corrected twice by its own remainder is that of a division
/// (Markstein); where remainders underflow, z is so small that its code is 0 either way.
class ClippedQuotient {
 public:
  __device__ explicit ClippedQuotient(float alpha) : alpha_(alpha), reciprocal_(1 / alpha) {}
  __device__ float operator()(float x) const {
    const float clipped = x > alpha_ ? alpha_ : x;  // a NaN stays one
    float z = clipped * reciprocal_;
    z = fmaf(fmaf(-alpha_, z, clipped), reciprocal_, z);
    return fmaf(fmaf(-alpha_, z, clipped), reciprocal_, z);
  }

 private:
  float alpha_, reciprocal_;
};

/// The code of z = x / alpha with its sign (F5).
template <typename Code, typename Set>
__device__ Code project_signed(float z, const Set& levels, const uint8_t* table) {
  const Code code = project<Code>(fabsf(z), levels, table);
  return z < 0 ? static_cast<Code>(0 - code) : code;
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
