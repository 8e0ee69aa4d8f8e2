#include <immintrin.h>

#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace avx2 {
constexpr const char* kName = "avx2";

// Entries of `part`, 16 of a table from `first` on, where the index is among them, else 0. A byte shuffle looks up 16
// entries: the index XOR `first` is below 16 in its own part alone, and the saturating addition of 0x70 sets the top
// bit of every other, for which the shuffle gives 0.
inline __m256i look_up_part(__m256i index, __m256i part, __m256i first) {
  return _mm256_shuffle_epi8(part, _mm256_adds_epu8(_mm256_xor_si256(index, first), _mm256_set1_epi8(0x70)));
}

// codes[i] = table[index[i]], 64 indices at a time.
inline void look_up(int64_t count, const uint8_t* __restrict index, const uint8_t* __restrict table, int32_t entries,
                    uint8_t* __restrict codes) {
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index + i));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index + i + 32));
    __m256i from_a = _mm256_setzero_si256(), from_b = from_a, first = from_a;
    for (int32_t entry = 0; entry < entries; entry += 16) {
      const __m256i part =
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + entry)));
      from_a = _mm256_or_si256(from_a, look_up_part(a, part, first));
      from_b = _mm256_or_si256(from_b, look_up_part(b, part, first));
      first = _mm256_add_epi8(first, _mm256_set1_epi8(16));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), from_a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i + 32), from_b);
  }
  for (; i < count; ++i) codes[i] = table[index[i]];
}

#include "core/kernels/cpu/loops_body.h"
}  // namespace avx2

const Loops* avx2_loops() { return &avx2::kLoops; }

}  // namespace apotnet
