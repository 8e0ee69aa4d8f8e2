#include <immintrin.h>

#include "core/kernels/cpu/codes/epilogue.h"

namespace apotnet {
namespace {

// 16 channels of one pixel at a time; what does not come in sixteens goes to the plain loops.

inline __m128i chain_look_up(const uint8_t (&tables)[8][16], int32_t count, __m128i m) {
  __m128i code = _mm_setzero_si128();
  for (int32_t h = 0; h < count; ++h) {
    const __m128i index = _mm_adds_epu8(m, _mm_set1_epi8(static_cast<char>(112 - 16 * h)));
    const __m128i table = _mm_load_si128(reinterpret_cast<const __m128i*>(tables[h]));
    code = _mm_xor_si128(code, _mm_shuffle_epi8(table, index));
  }
  return code;
}

// Half steps of 16 channels, clamped to [0, top], to codes.
inline __m128i codes_of(const CodeTable& table, __m256i low, __m256i high) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
  __m128i m = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  m = _mm_min_epu8(m, _mm_set1_epi8(static_cast<char>(table.top)));
  __m128i codes = chain_look_up(table.chain[0], table.tables[0], m);
  if (table.tables[1] > 0)
    codes = _mm_xor_si128(codes, chain_look_up(table.chain[1], table.tables[1], _mm_xor_si128(m, _mm_set1_epi8(-128))));
  return codes;
}

inline __m256 load_sums(const int32_t* from) {
  return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

void codes_epilogue(const CodesEpilogue& e) {
  if (!e.factor || e.channels % 16 != 0 || e.table->tables[0] == 0) return generic_epilogues().codes(e);
  const auto half_steps = [&](const int32_t* sums, int64_t c) {
    const __m256 m = _mm256_fmadd_ps(load_sums(sums + c), _mm256_loadu_ps(e.factor + c), _mm256_loadu_ps(e.offset + c));
    return _mm256_cvttps_epi32(m);
  };
  for (int64_t p = 0; p < e.pixels; ++p)
    for (int64_t c = 0; c < e.channels; c += 16) {
      const int32_t* sums = e.sums + p * e.padded_channels;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(e.codes + p * e.pixel_stride + c),
                       codes_of(*e.table, half_steps(sums, c), half_steps(sums, c + 8)));
    }
}

void values_epilogue(const ValuesEpilogue& e) {
  if (e.channels % 16 != 0) return generic_epilogues().values(e);
  for (int t = 0; t < e.target_count; ++t)
    if (e.targets[t].table->tables[0] == 0) return generic_epilogues().values(e);
  const __m256 step = _mm256_set1_ps(e.step), zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1);
  for (int64_t p = 0; p < e.pixels; ++p)
    for (int64_t c = 0; c < e.channels; c += 16) {
      __m256 value[2];
      for (int i = 0; i < 2; ++i) {
        const int64_t at = p * e.padded_channels + c + 8 * i, dense = p * e.channels + c + 8 * i;
        __m256 v = e.sums ? _mm256_mul_ps(load_sums(e.sums + at), step) : _mm256_loadu_ps(e.y + at);
        if (e.scale)
          v = _mm256_add_ps(_mm256_mul_ps(v, _mm256_loadu_ps(e.scale + c + 8 * i)),
                            _mm256_loadu_ps(e.shift + c + 8 * i));
        if (e.shortcut) v = _mm256_add_ps(v, _mm256_loadu_ps(e.shortcut + dense));
        if (e.relu) v = _mm256_max_ps(zero, v);  // the second operand where they are equal or one is NaN
        if (e.values) _mm256_storeu_ps(e.values + dense, v);
        value[i] = v;
      }
      for (int t = 0; t < e.target_count; ++t) {
        const QuantizeTarget& target = e.targets[t];
        const __m256 alpha = _mm256_set1_ps(target.alpha), top = _mm256_set1_ps(static_cast<float>(target.table->top));
        __m256i m[2];
        for (int i = 0; i < 2; ++i) {
          const __m256 z = _mm256_max_ps(_mm256_div_ps(value[i], alpha), zero);
          m[i] = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_min_ps(z, one), top));
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(target.codes + p * target.pixel_stride + c),
                         codes_of(*target.table, m[0], m[1]));
      }
    }
}

}  // namespace

const Epilogues& avx2_epilogues() {
  static constexpr Epilogues kEpilogues{codes_epilogue, values_epilogue};
  return kEpilogues;
}

}  // namespace apotnet
