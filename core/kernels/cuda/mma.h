#pragma once

#include "core/kernels/cuda/launch.h"
#include "core/tensor/dtype.h"

// Products of small matrices by a whole warp, on tensor cores, and bf16: the only inline assembly of this folder, each
// with a twin for the emulation. All 32 lanes must call the products together. Lane = 4 row + pair, as in PTX's
// mma.m16n8k16 and m16n8k32:
//
//   sums[0], sums[1]  row `row`,     columns 2 pair and 2 pair + 1
//   sums[2], sums[3]  row `row` + 8, the same columns
//
// A word of a fragment holds what stands side by side along the inner dimension, the first in the lowest bits:
//
//   a[0] row `row`, a[1] row + 8, the inner elements of word `pair`; a[2], a[3] the same rows, word pair + 4
//   b[0] column `row`, the inner elements of word `pair`; b[1] the same column, word pair + 4

namespace apotnet::cuda {

/// Four codes, or two bf16, as one word.
using Word = uint32_t;

#ifdef __CUDACC__

/// Four matrices of 8 rows of 16 bytes out of shared memory: lane l hands in where row l % 8 of matrix l / 8 begins, a
/// multiple of 16, and gets as words[i] word `pair` of row `row` of matrix i. So the rows of a in the order (0-7, first
/// half of the inner dimension), (8-15, first), (0-7, second), (8-15, second) make a fragment a.
__device__ inline void load_matrices(Word (&words)[4], const uint8_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

/// sums [16, 8] += a [16, 32] b [32, 8], unsigned by signed 8-bit integers: exact.
__device__ inline void multiply_codes(int32_t (&sums)[4], const Word (&a)[4], const Word (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// The same of signed codes in a.
__device__ inline void multiply_signed_codes(int32_t (&sums)[4], const Word (&a)[4], const Word (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// sums [16, 8] += a [16, 16] b [16, 8], products of bf16 added up in float32.
__device__ inline void multiply_bf16(float (&sums)[4], const Word (&a)[4], const Word (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Four matrices of 8 rows of 8 elements of 16 bits out of shared memory, turned over: lane l hands in where row l % 8
/// of matrix l / 8 begins, a multiple of 16 bytes, and gets as words[i] of matrix i column `row`, rows 2 pair and
/// 2 pair + 1. So rows that follow each other along the inner dimension become words of a fragment.
__device__ inline void load_transposed(Word (&words)[4], const BFloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

#else

namespace detail {

struct Fragments {
  Word a[4], b[2];
};

// Adds to each of the lane's four sums the products of its row of a and column of b, word by word.
template <typename Sum, typename Product>
void multiply_words(Sum (&sums)[4], const Word (&a)[4], const Word (&b)[2], const emulation::Location& location,
                    Product&& product) {
  const Fragments own{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const auto* const lanes = static_cast<const Fragments*>(emulation::warp_gather(&own, sizeof own, location));
  const int row = emulation::lane() / 4, pair = emulation::lane() % 4;
  for (int i = 0; i < 4; ++i)
    for (int word = 0; word < 8; ++word) {
      const Word x = lanes[4 * row + word % 4].a[word / 4 * 2 + i / 2];
      const Word y = lanes[4 * (2 * pair + i % 2) + word % 4].b[word / 4];
      sums[i] = product(x, y, sums[i]);
    }
}

}  // namespace detail

inline void load_matrices(Word (&words)[4], const uint8_t* row,
                          const emulation::Location& location = emulation::Location::current()) {
  emulation::require_matrix_row(row, location);
  const auto* const rows = static_cast<const uint8_t* const*>(emulation::warp_gather(&row, sizeof row, location));
  const int lane = emulation::lane();
  for (int i = 0; i < 4; ++i) std::memcpy(&words[i], rows[8 * i + lane / 4] + lane % 4 * 4, sizeof(Word));
}

inline void multiply_codes(int32_t (&sums)[4], const Word (&a)[4], const Word (&b)[2],
                           const emulation::Location& location = emulation::Location::current()) {
  detail::multiply_words(sums, a, b, location, [](Word x, Word y, int32_t sum) {
    for (int i = 0; i < 32; i += 8)
      sum += static_cast<int32_t>(x >> i & 255) * static_cast<int8_t>(static_cast<uint8_t>(y >> i));
    return sum;
  });
}

inline void multiply_signed_codes(int32_t (&sums)[4], const Word (&a)[4], const Word (&b)[2],
                                  const emulation::Location& location = emulation::Location::current()) {
  detail::multiply_words(sums, a, b, location, [](Word x, Word y, int32_t sum) {
    for (int i = 0; i < 32; i += 8)
      sum += int32_t{static_cast<int8_t>(static_cast<uint8_t>(x >> i))} *
             static_cast<int8_t>(static_cast<uint8_t>(y >> i));
    return sum;
  });
}

inline void multiply_bf16(float (&sums)[4], const Word (&a)[4], const Word (&b)[2],
                          const emulation::Location& location = emulation::Location::current()) {
  detail::multiply_words(sums, a, b, location, [](Word x, Word y, float sum) {
    const auto low = [](Word word) { return std::bit_cast<float>(word << 16); };
    const auto high = [](Word word) { return std::bit_cast<float>(word & 0xFFFF0000u); };
    return sum + low(x) * low(y) + high(x) * high(y);
  });
}

inline void load_transposed(Word (&words)[4], const BFloat16* row,
                            const emulation::Location& location = emulation::Location::current()) {
  emulation::require_matrix_row(row, location);
  using Row = BFloat16[8];
  const auto* const rows = static_cast<const Row*>(emulation::warp_gather(row, sizeof(Row), location));
  const int column = emulation::lane() / 4, pair = emulation::lane() % 4;
  for (int i = 0; i < 4; ++i)
    words[i] = static_cast<Word>(rows[8 * i + 2 * pair][column].bits) |
               static_cast<Word>(rows[8 * i + 2 * pair + 1][column].bits) << 16;
}

#endif

/// The bits of a float, and back.
__device__ inline uint32_t bits_of(float value) {
#ifdef __CUDACC__
  return __float_as_uint(value);
#else
  return std::bit_cast<uint32_t>(value);
#endif
}
__device__ inline float float_of(uint32_t bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

/// The nearest bf16, ties to even; codes are held exactly.
__device__ inline BFloat16 bf16_of(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {0x7FFF};  // NaN
  return {static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16)};
}
__device__ inline float float_of(BFloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

/// N elements of 16 bits side by side from element i on, a multiple of N: in words of two, or one in a word of its own.
template <int N, typename T>
__device__ Pack<Word, (N + 1) / 2> load_halves(const T* place, int64_t i) {
  static_assert(sizeof(T) == 2);
  if constexpr (N == 1)
    return {{reinterpret_cast<const uint16_t*>(place)[i]}};
  else
    return load<N / 2>(reinterpret_cast<const Word*>(place + i), 0);
}

/// Two side by side, the first in the lower bits.
__device__ inline Word pair_of(BFloat16 first, BFloat16 second) {
  return static_cast<Word>(first.bits) | static_cast<Word>(second.bits) << 16;
}
/// bf16_of() of both, in one instruction.
__device__ inline Word rounded_pair(float first, float second) {
#ifdef __CUDACC__
  Word pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return pair_of(bf16_of(first), bf16_of(second));
#endif
}

/// Two signed codes in the lower bits, one after the other, as bf16, which holds them exactly.
__device__ inline Word pair_of_codes(Word codes) {
  // 128 plus the lower seven bits of each, and 128 or, where the sign is set, 256 to be taken away from it.
  const Word both = (codes & 0xFFu) | (codes & 0xFF00u) << 8;
  const Word raised = (both & 0x007F007Fu) | 0x43004300u, taken = (both & 0x00800080u) | 0x43004300u;
#ifdef __CUDACC__
  Word pair;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(taken), "r"(0xBF80BF80u), "r"(raised));  // raised - taken
  return pair;
#else
  return rounded_pair(float_of(raised << 16) - float_of(taken << 16),
                      float_of(raised & 0xFFFF0000u) - float_of(taken & 0xFFFF0000u));
#endif
}

/// Stores N floats side by side in device memory as bf16, from element i on, a multiple of N.
template <int N>
__device__ void store_rounded(BFloat16* place, int64_t i, const Pack<float, N>& values) {
  if constexpr (N % 2 == 0) {
    Pack<Word, N / 2> pairs;
    for (int j = 0; j < N / 2; ++j) pairs[j] = rounded_pair(values[2 * j], values[2 * j + 1]);
    store_whole(reinterpret_cast<Word*>(place + i), 0, pairs);
  } else {
    for (int j = 0; j < N; ++j) place[i + j] = bf16_of(values[j]);
  }
}

}  // namespace apotnet::cuda
