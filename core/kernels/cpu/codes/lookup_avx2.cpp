#include <immintrin.h>

#include "core/kernels/cpu/codes/lookup.h"

namespace apotnet {
namespace {

constexpr int64_t kPositions = 64;  // of a block: two vectors
constexpr int64_t kOutputs = 4;     // at a time

inline __m128i load_16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
inline __m256i load_32(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

// Indices of two pixels, 16 channels each: [pixel][8 pairs].
inline __m128i indices_of(const uint8_t* first, const uint8_t* second, __m128i index_of_code) {
  const __m128i one_and_four = _mm_set1_epi16(0x0401);
  const __m128i a = _mm_maddubs_epi16(_mm_shuffle_epi8(index_of_code, load_16(first)), one_and_four);
  const __m128i b = _mm_maddubs_epi16(_mm_shuffle_epi8(index_of_code, load_16(second)), one_and_four);
  return _mm_packus_epi16(a, b);
}

// Eight pixels, 16 channels: 8 bytes into each of 8 planes.
inline void transpose_indices(const LookupStrip& s, const uint8_t* pixel, __m128i index_of_code, uint8_t* planes) {
  const __m128i zip = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  __m128i pairs[4];
  for (int i = 0; i < 4; ++i)
    pairs[i] =
        _mm_shuffle_epi8(indices_of(pixel + 2 * i * s.channels, pixel + (2 * i + 1) * s.channels, index_of_code), zip);
  const __m128i a = _mm_unpacklo_epi16(pairs[0], pairs[1]), b = _mm_unpacklo_epi16(pairs[2], pairs[3]);
  const __m128i c = _mm_unpackhi_epi16(pairs[0], pairs[1]), d = _mm_unpackhi_epi16(pairs[2], pairs[3]);
  const __m128i rows[4] = {_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b), _mm_unpacklo_epi32(c, d),
                           _mm_unpackhi_epi32(c, d)};
  for (int i = 0; i < 4; ++i) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(planes + 2 * i * s.plane), rows[i]);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(planes + (2 * i + 1) * s.plane), _mm_unpackhi_epi64(rows[i], rows[i]));
  }
}

void make_planes(const LookupStrip& s) {
  const __m128i index_of_code = load_16(s.index_of_code);
  const int64_t positions = (s.rows + s.kernel_h - 1) * s.pitch;
  for (int64_t p = 0; p < positions; p += 8) {
    const int64_t at = p + 8 > positions ? positions - 8 : p;
    for (int64_t c = 0; c < s.channels; c += 16)
      transpose_indices(s, s.input + at * s.channels + c, index_of_code, s.scratch + c / 2 * s.plane + at);
  }
}

// 16-bit totals of the even and of the odd positions of a vector.
struct Totals {
  __m256i even, odd;
  void add(__m256i bytes) {
    even = _mm256_add_epi16(even, _mm256_and_si256(bytes, _mm256_set1_epi16(0xFF)));
    odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
  }
  // [32 positions] in order
  void store(int16_t* to) const {
    const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    auto* at = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(at, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_store_si256(at + 1, _mm256_permute2x128_si256(low, high, 0x31));
  }
};

// Adds a table's entries to two sums of bytes. The empty assembly pins the sums to their registers: GCC 12 would load
// all tables first and spill a sum.
inline void add_entries(__m256i table, __m256i index0, __m256i index1, __m256i& sum0, __m256i& sum1) {
  sum0 = _mm256_add_epi8(sum0, _mm256_shuffle_epi8(table, index0));
  sum1 = _mm256_add_epi8(sum1, _mm256_shuffle_epi8(table, index1));
  asm volatile("" : "+x"(sum0), "+x"(sum1));
}

// totals[4 outputs][kPositions] of the positions from `position` on.
void look_up_outputs(const LookupStrip& s, const uint8_t* tables, int64_t position, int16_t* totals) {
  Totals wide[kOutputs][2] = {};
  for (int64_t first = 0; first < s.all_steps; first += s.steps) {
    const int64_t last = first + s.steps < s.all_steps ? first + s.steps : s.all_steps;
    __m256i a0{}, a1{}, b0{}, b1{}, c0{}, c1{}, d0{}, d1{};
    for (int64_t step = first; step < last; ++step, tables += 64) {
      const uint8_t* plane = s.scratch + position + s.distances[step];
      const __m256i index0 = load_32(plane), index1 = load_32(plane + 32);
      const auto table = [&](int o) { return _mm256_broadcastsi128_si256(load_16(tables + 16 * o)); };
      add_entries(table(0), index0, index1, a0, a1);
      add_entries(table(1), index0, index1, b0, b1);
      add_entries(table(2), index0, index1, c0, c1);
      add_entries(table(3), index0, index1, d0, d1);
    }
    wide[0][0].add(a0), wide[0][1].add(a1), wide[1][0].add(b0), wide[1][1].add(b1);
    wide[2][0].add(c0), wide[2][1].add(c1), wide[3][0].add(d0), wide[3][1].add(d1);
    asm volatile("" : : "r"(wide) : "memory");  // the wide totals stay in memory between widenings
  }
  for (int64_t o = 0; o < kOutputs; ++o)
    for (int64_t v = 0; v < 2; ++v) wide[o][v].store(totals + o * kPositions + 32 * v);
}

// Eight outputs of eight positions: rows [output][kPositions] to rows [position][8].
inline void transpose_totals(const int16_t* from, __m128i (&to)[8]) {
  __m128i r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = load_16(from + i * kPositions);
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
    t[i + 4] = _mm_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
  }
  for (int half = 0; half < 2; ++half) {
    const __m128i a = _mm_unpacklo_epi32(t[4 * half], t[4 * half + 1]),
                  b = _mm_unpackhi_epi32(t[4 * half], t[4 * half + 1]);
    const __m128i c = _mm_unpacklo_epi32(t[4 * half + 2], t[4 * half + 3]),
                  d = _mm_unpackhi_epi32(t[4 * half + 2], t[4 * half + 3]);
    to[4 * half] = _mm_unpacklo_epi64(a, c);
    to[4 * half + 1] = _mm_unpackhi_epi64(a, c);
    to[4 * half + 2] = _mm_unpacklo_epi64(b, d);
    to[4 * half + 3] = _mm_unpackhi_epi64(b, d);
  }
}

// Sixteen outputs of a block of positions to where their pixels lie.
void store_sums(const LookupStrip& s, const int16_t* totals, int64_t first, int64_t output) {
  for (int64_t half = 0; half < 16; half += 8) {
    const __m256i offsets = load_32(s.offsets + output + half);
    for (int64_t p = 0; p < kPositions; p += 8) {
      __m128i rows[8];
      transpose_totals(totals + half * kPositions + p, rows);
      int64_t y = (first + p) / s.pitch, x = (first + p) % s.pitch;
      for (int i = 0; i < 8; ++i) {
        if (x < s.width && y < s.rows)
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(s.sums + (y * s.width + x) * s.padded_outputs + output + half),
                              _mm256_sub_epi32(_mm256_cvtepi16_epi32(rows[i]), offsets));
        if (++x == s.pitch) {
          x = 0;
          ++y;
        }
      }
    }
  }
}

}  // namespace

void avx2_lookup(const LookupStrip& s) {
  make_planes(s);
  auto* totals = reinterpret_cast<int16_t*>(s.scratch + s.channels / 2 * s.plane);
  const int64_t table_bytes = s.all_steps * 16 * kOutputs;
  for (int64_t first = 0; first < (s.rows - 1) * s.pitch + s.width; first += kPositions)
    for (int64_t output = 0; output < s.padded_outputs; output += 16) {
      for (int64_t o = 0; o < 16; o += kOutputs)
        look_up_outputs(s, s.tables + (output + o) / kOutputs * table_bytes, first, totals + o * kPositions);
      store_sums(s, totals, first, output);
    }
}

}  // namespace apotnet
