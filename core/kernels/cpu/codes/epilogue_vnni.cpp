#include <immintrin.h>

#include "core/kernels/cpu/codes/epilogue.h"

namespace apotnet {
namespace {

struct Vector {
  using Floats = __m512;
  using Ints = __m512i;
  using Bytes = __m512i;
  static constexpr int64_t kLanes = 16;

  static Floats all(float value) { return _mm512_set1_ps(value); }
  static Floats load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
  static Floats load_sums(const int32_t* from) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(from)); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  // Of equal operands, or where one is NaN, the second one.
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Ints truncate(Floats a) { return _mm512_cvttps_epi32(a); }
  static Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Ints less_one_where_negative(Ints a, Floats b) {
    return _mm512_add_epi32(a, _mm512_srai_epi32(_mm512_castps_si512(b), 31));
  }
  static Ints half_rounded_up(Ints a) { return _mm512_srai_epi32(_mm512_add_epi32(a, _mm512_set1_epi32(1)), 1); }

  static Bytes all_bytes(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
  static Bytes repeat_16(const uint8_t* from) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Bytes min_bytes(Bytes a, Bytes b) { return _mm512_min_epu8(a, b); }
  static Bytes exclusive_or(Bytes a, Bytes b) { return _mm512_xor_si512(a, b); }
  static Bytes shuffle(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }
  static Bytes add_saturated(Bytes a, int value) { return _mm512_adds_epu8(a, all_bytes(value)); }
  // Four vectors to bytes in order, clamped to [0, 255].
  static Bytes pack(const Ints (&m)[4]) {
    const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(m[0], m[1]), _mm512_packs_epi32(m[2], m[3]));
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
  }
  static void store_bytes(uint8_t* to, Bytes value) { _mm512_storeu_si512(to, value); }
};

#include "core/kernels/cpu/codes/epilogue_body.h"

}  // namespace

const Epilogues& vnni_epilogues() {
  static constexpr Epilogues kEpilogues{codes_epilogue, values_epilogue};
  return kEpilogues;
}

}  // namespace apotnet
