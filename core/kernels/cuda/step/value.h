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

  /// N sums as they are stored side by side.
  template <int N>
  using Packed = Pack<Word, (N + 1) / 2>;
  template <int N>
  __device__ Packed<N> fetch(int64_t i) const {
    return load_halves<N>(narrow, i);
  }
  /// N sums from element i on, as floats, of which `packed` has been fetched.
  template <int N>
  __device__ Pack<float, N> finish(const Packed<N>& packed, int64_t i) const {
    Pack<float, N> result;
    if constexpr (N > 1) {
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
    } else {
      result[0] = static_cast<float>(static_cast<int16_t>(packed[0]));
    }
    for (int j = 0; j < N; ++j)
      if (result[j] == kWideSum) result[j] = static_cast<float>(wide[i + j]);
    return result;
  }
  __device__ float step() const { return step_a[0] * step_b[0]; }
};

/// Stores N sums side by side where SumArrays finds them; i is a multiple of N.
template <int N>
__device__ void store_sums(int16_t* narrow, int32_t* wide, int64_t i, const Pack<int32_t, N>& sums) {
  constexpr Word kMost = 2 * 32767;
  const auto shifted = [&](int j) { return static_cast<Word>(sums[j]) + 32767u; };  // at most kMost where it fits
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

/// ReLU; a NaN stays one.
template <int N>
__device__ void rectify(Pack<float, N>& xs) {
  for (int j = 0; j < N; ++j) xs[j] = xs[j] < 0 ? 0.0f : xs[j];
}

/// An operand on the device. What its batch norm needs of a channel is made once per block (ChannelNorm) and handed to
/// finish().
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
  /// Reads what finish_raw() makes N numbers of, from element i on: floats, or sums in the first half of the words.
  template <int N>
  __device__ Pack<Word, N> fetch(int64_t i) const {
    if (values) return load<N>(reinterpret_cast<const Word*>(values), i);
    Pack<Word, N> words{};
    const auto packed = sums.template fetch<N>(i);
    for (int j = 0; j < (N + 1) / 2; ++j) words[j] = packed[j];
    return words;
  }
  /// The input of the batch norm: N numbers from element i on. `step` is sums.step(), read once by the caller.
  template <int N>
  __device__ Pack<float, N> finish_raw(const Pack<Word, N>& fetched, int64_t i, float step) const {
    if (!values) {
      SumArrays::Packed<N> packed;
      for (int j = 0; j < (N + 1) / 2; ++j) packed[j] = fetched[j];
      return finish_sums<N>(packed, i, step);
    }
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) result[j] = float_of(fetched[j]);
    return result;
  }
  template <int N>
  __device__ Pack<float, N> finish_sums(const SumArrays::Packed<N>& packed, int64_t i, float step) const {
    Pack<float, N> result = sums.template finish<N>(packed, i);
    for (int j = 0; j < N; ++j) result[j] *= step;
    return result;
  }
  template <int N>
  __device__ Pack<float, N> raw(int64_t i, float step) const {
    return finish_raw<N>(fetch<N>(i), i, step);
  }
  /// step for raw().
  __device__ float step() const { return sums.narrow ? sums.step() : 1.0f; }
  /// N raw numbers, each of the channel with its terms: what the value is made of.
  template <int N>
  __device__ void finish(Pack<float, N>& xs, const Pack<float, N>& scales, const Pack<float, N>& shifts) const {
    if (has_norm())
      for (int j = 0; j < N; ++j) xs[j] = xs[j] * scales[j] + shifts[j];
    if (relu) rectify(xs);
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

  /// What a batch norm does to N channels side by side.
  template <int N>
  struct Terms {
    Pack<float, N> scale_a, shift_a, scale_b, shift_b;

    /// Of channels whose terms begin at norm_a and norm_b.
    __device__ static Terms of(const ValueArrays& value, const ChannelNorm* norm_a, const ChannelNorm* norm_b) {
      Terms terms = {};
      for (int j = 0; j < N; ++j) {
        if (value.a.has_norm()) terms.scale_a[j] = norm_a[j].scale, terms.shift_a[j] = norm_a[j].shift;
        if (value.b.has_norm()) terms.scale_b[j] = norm_b[j].scale, terms.shift_b[j] = norm_b[j].shift;
      }
      return terms;
    }
  };
  /// From raw numbers of both operands.
  template <int N>
  __device__ Pack<float, N> finish(Pack<float, N> as, Pack<float, N> bs, const Terms<N>& terms) const {
    a.finish(as, terms.scale_a, terms.shift_a);
    if (b.defined()) {
      b.finish(bs, terms.scale_b, terms.shift_b);
      for (int j = 0; j < N; ++j) as[j] += bs[j];
    }
    if (relu) rectify(as);
    return as;
  }

  /// What finish_fetched() makes N values of, read from element i on.
  template <int N>
  struct Fetched {
    Pack<Word, N> a, b;
  };
  template <int N>
  __device__ Fetched<N> fetch(int64_t i) const {
    return {a.template fetch<N>(i), b.defined() ? b.template fetch<N>(i) : Pack<Word, N>{}};
  }
  template <int N>
  __device__ Pack<float, N> finish_fetched(const Fetched<N>& fetched, int64_t i, const Terms<N>& terms, float step_a,
                                           float step_b) const {
    Pack<float, N> bs{};
    if (b.defined()) bs = b.finish_raw(fetched.b, i, step_b);
    return finish(a.finish_raw(fetched.a, i, step_a), bs, terms);
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
