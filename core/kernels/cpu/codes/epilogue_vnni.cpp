#include <immintrin.h>

#include "core/kernels/cpu/codes/epilogue.h"

namespace apotnet {
namespace {

// Look-ups want 64 bytes at a time: four vectors of 16 channels, of one pixel or of neighbours. What does not fit goes
// to the AVX2 loops.

inline __m512i chain_look_up(const uint8_t (&tables)[8][16], int32_t count, __m512i m) {
  __m512i code = _mm512_setzero_si512();
  for (int32_t h = 0; h < count; ++h) {
    const __m512i index = _mm512_adds_epu8(m, _mm512_set1_epi8(static_cast<char>(112 - 16 * h)));
    const __m512i table = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(tables[h])));
    code = _mm512_xor_si512(code, _mm512_shuffle_epi8(table, index));
  }
  return code;
}

// Half steps of four times 16 channels, clamped to [0, top], to 64 codes in order.
inline __m512i codes_of(const CodeTable& table, const __m512i (&m)[4]) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes = _mm512_packus_epi16(_mm512_packs_epi32(m[0], m[1]), _mm512_packs_epi32(m[2], m[3]));
  const __m512i clamped = _mm512_min_epu8(_mm512_permutexvar_epi32(order, bytes),
                                          _mm512_set1_epi8(static_cast<char>(table.top)));
  __m512i codes = chain_look_up(table.chain[0], table.tables[0], clamped);
  if (table.tables[1] > 0)
    codes = _mm512_xor_si512(codes, chain_look_up(table.chain[1], table.tables[1],
                                                  _mm512_xor_si512(clamped, _mm512_set1_epi8(-128))));
  return codes;
}

// Where the four vectors of 16 channels of a step lie.
struct Quad {
  int64_t pixel[4], channel[4];
};

// body(quad) for all pixels x channels, 16-channel vectors in fours; the last four may overlap the ones before.
template <typename Body>
inline void for_each_quad(int64_t pixels, int64_t channels, const Body& body) {
  const int64_t per_pixel = channels / 16, total = pixels * per_pixel;
  for (int64_t first = 0; first < total; first += 4) {
    const int64_t from = first + 4 > total ? total - 4 : first;
    Quad quad;
    for (int i = 0; i < 4; ++i) {
      quad.pixel[i] = (from + i) / per_pixel;
      quad.channel[i] = (from + i) % per_pixel * 16;
    }
    body(quad);
  }
}

inline void store_codes(__m512i codes, const Quad& quad, int64_t pixel_stride, uint8_t* to) {
  const auto at = [&](int i) { return reinterpret_cast<__m128i*>(to + quad.pixel[i] * pixel_stride + quad.channel[i]); };
  _mm_storeu_si128(at(0), _mm512_castsi512_si128(codes));
  _mm_storeu_si128(at(1), _mm512_extracti32x4_epi32(codes, 1));
  _mm_storeu_si128(at(2), _mm512_extracti32x4_epi32(codes, 2));
  _mm_storeu_si128(at(3), _mm512_extracti32x4_epi32(codes, 3));
}

void codes_epilogue(const CodesEpilogue& e) {
  if (!e.factor || e.channels % 16 != 0 || e.pixels * e.channels < 64 || e.table->tables[0] == 0)
    return avx2_epilogues().codes(e);
  for_each_quad(e.pixels, e.channels, [&](const Quad& quad) {
    __m512i m[4];
    for (int i = 0; i < 4; ++i) {
      const __m512 sums = _mm512_cvtepi32_ps(
          _mm512_loadu_si512(e.sums + quad.pixel[i] * e.padded_channels + quad.channel[i]));
      m[i] = _mm512_cvttps_epi32(_mm512_fmadd_ps(sums, _mm512_loadu_ps(e.factor + quad.channel[i]),
                                                 _mm512_loadu_ps(e.offset + quad.channel[i])));
    }
    store_codes(codes_of(*e.table, m), quad, e.pixel_stride, e.codes);
  });
}

// The float operations of one vector; `at` counts in padded, `dense` in real channels.
inline __m512 value_of(const ValuesEpilogue& e, int64_t at, int64_t dense, int64_t channel) {
  __m512 v = e.sums ? _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(e.sums + at)), _mm512_set1_ps(e.step))
                    : _mm512_loadu_ps(e.y + at);
  if (e.scale)
    v = _mm512_add_ps(_mm512_mul_ps(v, _mm512_loadu_ps(e.scale + channel)), _mm512_loadu_ps(e.shift + channel));
  if (e.shortcut) v = _mm512_add_ps(v, _mm512_loadu_ps(e.shortcut + dense));
  if (e.relu) v = _mm512_max_ps(_mm512_setzero_ps(), v);  // the second operand where they are equal or one is NaN
  return v;
}

void values_epilogue(const ValuesEpilogue& e) {
  if (e.channels % 16 != 0 || e.pixels * e.channels < 64) return avx2_epilogues().values(e);
  for (int t = 0; t < e.target_count; ++t)
    if (e.targets[t].table->tables[0] == 0) return generic_epilogues().values(e);
  const __m512 zero = _mm512_setzero_ps(), one = _mm512_set1_ps(1);
  for_each_quad(e.pixels, e.channels, [&](const Quad& quad) {
    __m512 value[4];
    for (int i = 0; i < 4; ++i) {
      const int64_t dense = quad.pixel[i] * e.channels + quad.channel[i];
      value[i] = value_of(e, quad.pixel[i] * e.padded_channels + quad.channel[i], dense, quad.channel[i]);
      if (e.values) _mm512_storeu_ps(e.values + dense, value[i]);
    }
    for (int t = 0; t < e.target_count; ++t) {
      const QuantizeTarget& target = e.targets[t];
      const __m512 alpha = _mm512_set1_ps(target.alpha), top = _mm512_set1_ps(static_cast<float>(target.table->top));
      __m512i m[4];
      for (int i = 0; i < 4; ++i) {
        const __m512 z = _mm512_max_ps(_mm512_div_ps(value[i], alpha), zero);
        m[i] = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_min_ps(z, one), top));
      }
      store_codes(codes_of(*target.table, m), quad, target.pixel_stride, target.codes);
    }
  });
}

}  // namespace

const Epilogues& vnni_epilogues() {
  static constexpr Epilogues kEpilogues{codes_epilogue, values_epilogue};
  return kEpilogues;
}

}  // namespace apotnet
