#include <immintrin.h>

#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace avx2 {
constexpr const char* kName = "avx2";

// codes[i] = table[index[i]] for 32 indices at a time. A byte shuffle looks up 16 entries, so the table is cut into
// parts of 16: an index XOR the part's first index is below 16 in that part alone, and the saturating addition of 0x70
// sets the top bit of every other, for which the shuffle gives 0. Four instructions a part.
inline void look_up(int64_t count, const uint8_t* __restrict index, const uint8_t* __restrict table, int32_t entries,
                    uint8_t* __restrict codes) {
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m256i indices = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index + i));
    __m256i result = _mm256_setzero_si256();
    for (int32_t first = 0; first < entries; first += 16) {
      const __m256i part =
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + first)));
      const __m256i within = _mm256_xor_si256(indices, _mm256_set1_epi8(static_cast<char>(first)));
      const __m256i selector = _mm256_adds_epu8(within, _mm256_set1_epi8(0x70));
      result = _mm256_or_si256(result, _mm256_shuffle_epi8(part, selector));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), result);
  }
  for (; i < count; ++i) codes[i] = table[index[i]];
}

#include "core/kernels/cpu/loops_body.h"
}  // namespace avx2

const Loops* avx2_loops() { return &avx2::kLoops; }

}  // namespace apotnet
