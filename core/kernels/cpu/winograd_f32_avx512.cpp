#include <immintrin.h>

#include "core/kernels/cpu/winograd_f32.h"

namespace apotnet {
namespace winograd_avx512 {
constexpr const char* kName = "avx512";
constexpr int64_t kLanes = 16;
typedef __m512 Vector;

// 24 sums, 2 factors and the broadcast one fit the 32 registers.
constexpr int kRowsOfTwo = 12, kRowsOfOne = 12, kRowsMultiple = 12, kOutputsOfTwo = 8, kOutputsOfOne = 16;

inline Vector multiply_add(float a, Vector b, Vector c) { return _mm512_fmadd_ps(_mm512_set1_ps(a), b, c); }
inline Vector load(const uint8_t* codes) {
  // The forms without a mask read a vector that is not set, which GCC 12 warns of.
  const __m512i wide = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
  return _mm512_maskz_cvtepi32_ps(0xffff, wide);
}

#include "core/kernels/cpu/winograd_f32_body.h"
}  // namespace winograd_avx512

const WinogradKernels& avx512_winograd() { return winograd_avx512::kWinograd; }

}  // namespace apotnet
