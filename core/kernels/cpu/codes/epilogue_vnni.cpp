#include <immintrin.h>

#include "core/kernels/cpu/codes/epilogue.h"

namespace apotnet {
namespace {

// Look-ups want 64 bytes at a time: four vectors of 16 channels, of one pixel or of neighbours in a dense row. What
// does not fit goes to the AVX2 loops.

// The look-ups of a CodeTable with `Count` tables in its first chain and `Second` in the other, kept in registers.
template <int Count, int Second>
struct Look {
  explicit Look(const CodeTable& table) : top(_mm512_set1_epi8(static_cast<char>(table.top))) {
#pragma GCC unroll 8
    for (int h = 0; h < Count; ++h) tables[h] = load(table.chain[0][h]);
#pragma GCC unroll 8
    for (int h = 0; h < Second; ++h) tables[Count + h] = load(table.chain[1][h]);
  }
  static __m512i load(const uint8_t* table) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
  }

  // Half steps of four times 16 elements to 64 codes in order.
  __m512i codes_of(const __m512i (&m)[4]) const {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(m[0], m[1]), _mm512_packs_epi32(m[2], m[3]));
    const __m512i clamped = _mm512_min_epu8(_mm512_permutexvar_epi32(order, bytes), top);
    __m512i codes = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int h = 0; h < Count; ++h) codes = _mm512_xor_si512(codes, entry(clamped, h, tables[h]));
    const __m512i upper = _mm512_xor_si512(clamped, _mm512_set1_epi8(-128));
#pragma GCC unroll 8
    for (int h = 0; h < Second; ++h) codes = _mm512_xor_si512(codes, entry(upper, h, tables[Count + h]));
    return codes;
  }
  static __m512i entry(__m512i m, int h, __m512i table) {
    return _mm512_shuffle_epi8(table, _mm512_adds_epu8(m, _mm512_set1_epi8(static_cast<char>(112 - 16 * h))));
  }

  __m512i top;
  __m512i tables[Count + Second];
};

// body(Look) with the counts of `table` as constants: those of 2, 3 and 4 bits exactly, others rounded up.
template <typename Body>
inline void with_look(const CodeTable& table, const Body& body) {
  if (table.tables[1] > 0) return body(Look<8, 8>(table));
  if (table.tables[0] <= 1) return body(Look<1, 0>(table));
  if (table.tables[0] <= 2) return body(Look<2, 0>(table));
  if (table.tables[0] <= 7) return body(Look<7, 0>(table));
  return body(Look<8, 0>(table));
}

// body(first element, channels of the four vectors) for all elements of [pixels][channels], 64 at a time; the last 64
// may overlap the ones before.
template <typename Body>
inline void for_each_64(int64_t pixels, int64_t channels, const Body& body) {
  const int64_t total = pixels * channels;
  int64_t channel[4];
  for (int i = 0; i < 4; ++i) channel[i] = 16 * i % channels;
  const int64_t step = 64 % channels;
  for (int64_t first = 0; first + 64 <= total; first += 64) {
    body(first, channel);
    for (int i = 0; i < 4 && step != 0; ++i) channel[i] += channel[i] + step < channels ? step : step - channels;
  }
  if (total % 64 == 0) return;
  for (int i = 0; i < 4; ++i) channel[i] = (total - 64 + 16 * i) % channels;
  body(total - 64, channel);
}

void codes_epilogue(const CodesEpilogue& given) {
  const CodesEpilogue e = given;  // a copy that no store can alias
  const bool dense = e.padded_channels == e.channels && e.pixel_stride == e.channels;
  if (!e.factor || e.channels % 16 != 0 || !dense || e.pixels * e.channels < 64 || e.table->tables[0] == 0)
    return avx2_epilogues().codes(e);
  with_look(*e.table, [&](const auto& look) {
    for_each_64(e.pixels, e.channels, [&](int64_t first, const int64_t(&channel)[4]) {
      __m512i m[4];
      for (int i = 0; i < 4; ++i) {
        const __m512 sums = _mm512_cvtepi32_ps(_mm512_loadu_si512(e.sums + first + 16 * i));
        m[i] = _mm512_cvttps_epi32(
            _mm512_fmadd_ps(sums, _mm512_loadu_ps(e.factor + channel[i]), _mm512_loadu_ps(e.offset + channel[i])));
      }
      _mm512_storeu_si512(e.codes + first, look.codes_of(m));
    });
  });
}

// The values of 64 elements, four vectors.
template <bool Sums, bool Norm, bool Shortcut>
inline void values_of_64(const ValuesEpilogue& e, int64_t first, const int64_t (&channel)[4], __m512 (&value)[4]) {
  const __m512 step = _mm512_set1_ps(e.step), floor = e.relu ? _mm512_setzero_ps() : _mm512_set1_ps(-__builtin_inff());
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int64_t at = first + 16 * i;
    __m512 v =
        Sums ? _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(e.sums + at)), step) : _mm512_loadu_ps(e.y + at);
    if (Norm)
      v = _mm512_add_ps(_mm512_mul_ps(v, _mm512_loadu_ps(e.scale + channel[i])), _mm512_loadu_ps(e.shift + channel[i]));
    if (Shortcut) v = _mm512_add_ps(v, _mm512_loadu_ps(e.shortcut + at));
    value[i] = _mm512_max_ps(floor, v);  // the second operand where they are equal or one is NaN
    if (e.values) _mm512_storeu_ps(e.values + at, value[i]);
  }
}

template <typename Look>
inline void quantize_64(const QuantizeTarget& target, const Look& look, int64_t first, const __m512 (&value)[4]) {
  const __m512 alpha = _mm512_set1_ps(target.alpha), top = _mm512_set1_ps(static_cast<float>(target.table->top));
  __m512i m[4];
  for (int i = 0; i < 4; ++i) {
    const __m512 z = _mm512_max_ps(_mm512_div_ps(value[i], alpha), _mm512_setzero_ps());
    m[i] = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_min_ps(z, _mm512_set1_ps(1)), top));
  }
  _mm512_storeu_si512(target.codes + first, look.codes_of(m));
}

template <bool Sums, bool Norm, bool Shortcut>
void values_epilogue(const ValuesEpilogue& given) {
  const ValuesEpilogue e = given;
  if (e.target_count == 0)
    return for_each_64(e.pixels, e.channels, [&](int64_t first, const int64_t(&channel)[4]) {
      __m512 value[4];
      values_of_64<Sums, Norm, Shortcut>(e, first, channel, value);
    });
  with_look(*e.targets[0].table, [&](const auto& look) {
    for_each_64(e.pixels, e.channels, [&](int64_t first, const int64_t(&channel)[4]) {
      __m512 value[4];
      values_of_64<Sums, Norm, Shortcut>(e, first, channel, value);
      for (int t = 0; t < e.target_count; ++t) quantize_64(e.targets[t], look, first, value);
    });
  });
}

void any_values_epilogue(const ValuesEpilogue& e) {
  bool fits = (e.scale || (e.sums && !e.shortcut)) && e.channels % 16 == 0 && e.padded_channels == e.channels &&
              e.pixels * e.channels >= 64;
  for (int t = 0; t < e.target_count; ++t)
    fits = fits && e.targets[t].pixel_stride == e.channels && e.targets[t].table->tables[0] > 0 &&
           e.targets[t].table == e.targets[0].table;
  if (!fits) return avx2_epilogues().values(e);
  if (!e.scale)
    values_epilogue<true, false, false>(e);
  else if (e.sums)
    e.shortcut ? values_epilogue<true, true, true>(e) : values_epilogue<true, true, false>(e);
  else
    e.shortcut ? values_epilogue<false, true, true>(e) : values_epilogue<false, true, false>(e);
}

}  // namespace

const Epilogues& vnni_epilogues() {
  static constexpr Epilogues kEpilogues{codes_epilogue, any_values_epilogue};
  return kEpilogues;
}

}  // namespace apotnet
