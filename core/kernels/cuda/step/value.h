#pragma once

#include "core/kernels/cuda/levels.h"
#include "core/kernels/cuda/mma.h"
#include "core/kernels/cuda/norm_terms.h"
#include "core/kernels/cuda/step/step_kernels.h"

// Operands and values (step_kernels.h) as kernels read them.

namespace apotnet::cuda {

/// Sums on the device.
struct SumArrays {
  const int16_t* narrow;
  const int32_t* wide;
  const float *step_a, *step_b;

  explicit SumArrays(const Sums& sums)
      : narrow(input<int16_t>(sums.narrow)),
        wide(input<int32_t>(sums.wide)),
        step_a(input<float>(sums.step_a)),
        step_b(input<float>(sums.step_b)) {}
  SumArrays() = default;

  /// N sums from element i on, as floats.
  template <int N>
  __device__ Pack<float, N> at(int64_t i) const {
    Pack<float, N> result;
    if constexpr (N % 2 == 0) {
      const auto packed = load<N / 2>(reinterpret_cast<const Word*>(narrow + i), 0);
      Word some_wide = 0;
      for (int j = 0; j < N / 2; ++j) {
        // Sums plus 2^15, without a sign: below 2^16 and next to 2^23, floats are integers, and no conversion is
        // needed.
        const Word both = packed[j] ^ 0x80008000u;
        some_wide |= (both - 0x00010001u) & ~both;  // the upper bit of a half that is zero, perhaps of one above it
        constexpr float kBias = 8388608 + 32768;
        result[2 * j] = float_of(0x4B000000u | (both & 0xFFFFu)) - kBias;
        result[2 * j + 1] = float_of(0x4B000000u | both >> 16) - kBias;
      }
      if ((some_wide & 0x80008000u) == 0) return result;
      for (int j = 0; j < N; ++j)
        if (result[j] == kWideSum) result[j] = static_cast<float>(wide[i + j]);
    } else {
      for (int j = 0; j < N; ++j)
        result[j] = static_cast<float>(narrow[i + j] == kWideSum ? wide[i + j] : narrow[i + j]);
    }
    return result;
  }
  __device__ float step() const { return step_a[0] * step_b[0]; }
};

/// Stores N sums side by side where SumArrays finds them; i is a multiple of N.
template <int N>
__device__ void store_sums(int16_t* narrow, int32_t* wide, int64_t i, const Pack<int32_t, N>& sums) {
  constexpr Word kMost = 2 * 32767;
  const auto shifted = [&](int j) { return static_cast<Word>(sums[j] + 32767); };  // at most kMost where it fits
  Word most = 0;
  for (int j = 0; j < N; ++j) most = max(most, shifted(j));
  Pack<int16_t, N> packed;
  for (int j = 0; j < N; ++j) packed[j] = static_cast<int16_t>(sums[j]);
  if (most > kMost)
    for (int j = 0; j < N; ++j)
      if (shifted(j) > kMost) {
        packed[j] = kWideSum;
        wide[i + j] = sums[j];
      }
  store(narrow, i, packed);
}

/// An operand on the device. What its batch norm needs of a channel is made once per block (ChannelNorm) and handed to
/// at().
struct OperandArrays {
  const float* values;  // null: sums
  SumArrays sums;
  NormArrays norm;  // norm.mean is null where there is none
  bool relu;

  explicit OperandArrays(const Operand& operand)
      : values(operand.sums ? nullptr : input<float>(operand.values)),
        sums(operand.sums ? SumArrays(*operand.sums) : SumArrays()),
        norm(operand.norm ? NormArrays(*operand.norm) : NormArrays::none()),
        relu(operand.relu) {}
  static OperandArrays none() { return OperandArrays(); }

  __device__ bool has_norm() const { return norm.mean != nullptr; }
  __device__ bool defined() const { return values != nullptr || sums.narrow != nullptr; }
  /// The input of the batch norm: N numbers from element i on. `step` is sums.step(), read once by the caller.
  template <int N>
  __device__ Pack<float, N> raw(int64_t i, float step) const {
    if (values) return load<N>(values, i);
    Pack<float, N> result = sums.template at<N>(i);
    for (int j = 0; j < N; ++j) result[j] *= step;
    return result;
  }
  /// step for raw().
  __device__ float step() const { return sums.narrow ? sums.step() : 1.0f; }
  /// Of a raw number of the channel with these terms.
  __device__ float finish(float x, const ChannelNorm& terms) const {
    const float y = has_norm() ? terms.apply(x) : x;
    return relu && y < 0 ? 0.0f : y;
  }

 private:
  OperandArrays() : values(nullptr), sums(), norm(NormArrays::none()), relu(false) {}
};

/// A value on the device.
struct ValueArrays {
  OperandArrays a, b;
  bool relu;

  explicit ValueArrays(const Value& value)
      : a(value.a), b(value.b ? OperandArrays(*value.b) : OperandArrays::none()), relu(value.relu) {}

  /// From raw numbers of both operands.
  __device__ float finish(float raw_a, const ChannelNorm& norm_a, float raw_b, const ChannelNorm& norm_b) const {
    float y = a.finish(raw_a, norm_a);
    if (b.defined()) y += b.finish(raw_b, norm_b);
    return relu && y < 0 ? 0.0f : y;
  }
  /// N values from element i on, whose channels' terms begin at norm_a and norm_b.
  template <int N>
  __device__ Pack<float, N> at(int64_t i, const ChannelNorm* norm_a, const ChannelNorm* norm_b, float step_a,
                               float step_b) const {
    const Pack<float, N> as = a.template raw<N>(i, step_a), bs = b.defined() ? b.template raw<N>(i, step_b) : as;
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) result[j] = finish(as[j], norm_a[j], bs[j], norm_b[j]);
    return result;
  }
};

/// The block's threads make the terms of `count` channels from `first` on; a barrier must follow. Without a batch norm
/// they are left alone: nothing reads them.
__device__ inline void prepare_norm(const OperandArrays& operand, int first, int count, ChannelNorm* terms) {
  if (!operand.has_norm()) return;
  for (int c = static_cast<int>(threadIdx.x); c < count; c += kThreads)
    terms[c] = ChannelNorm::of(operand.norm, first + c);
}

/// What launching needs of a value for the table of nodes: the bytes that computing all of it reads.
inline size_t bytes_read(const Operand& operand) {
  return operand.sums ? operand.sums->narrow.bytes() : operand.values.bytes();
}
inline size_t bytes_read(const Value& value) { return bytes_read(value.a) + (value.b ? bytes_read(*value.b) : 0); }

}  // namespace apotnet::cuda
