#include <immintrin.h>

#include "core/kernels/cpu/codes/epilogue.h"

namespace apotnet {
namespace {

struct Vector {
  using Floats = __m256;
  using Ints = __m256i;
  using Bytes = __m256i;
  static constexpr int64_t kLanes = 8;

  static Floats all(float value) { return _mm256_set1_ps(value); }
  static Floats load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Floats value) { _mm256_storeu_ps(to, value); }
  static Floats load_sums(const int32_t* from) {
    return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  // Of equal operands, or where one is NaN, the second one.
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Ints truncate(Floats a) { return _mm256_cvttps_epi32(a); }
  static Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
  static Ints less_one_where_negative(Ints a, Floats b) {
    return _mm256_add_epi32(a, _mm256_srai_epi32(_mm256_castps_si256(b), 31));
  }
  static Ints half_rounded_up(Ints a) { return _mm256_srai_epi32(_mm256_add_epi32(a, _mm256_set1_epi32(1)), 1); }

  static Bytes all_bytes(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
  static Bytes repeat_16(const uint8_t* from) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Bytes min_bytes(Bytes a, Bytes b) { return _mm256_min_epu8(a, b); }
  static Bytes exclusive_or(Bytes a, Bytes b) { return _mm256_xor_si256(a, b); }
  static Bytes shuffle(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }
  static Bytes add_saturated(Bytes a, int value) { return _mm256_adds_epu8(a, all_bytes(value)); }
  // Four vectors to bytes in order, clamped to [0, 255].
  static Bytes pack(const Ints (&m)[4]) {
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(m[0], m[1]), _mm256_packs_epi32(m[2], m[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static void store_bytes(uint8_t* to, Bytes value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value); }
};

#include "core/kernels/cpu/codes/epilogue_body.h"

}  // namespace

const Epilogues& avx2_epilogues() {
  static constexpr Epilogues kEpilogues{codes_epilogue, values_epilogue};
  return kEpilogues;
}

}  // namespace apotnet
