#include <immintrin.h>

#include "core/kernels/cpu/winograd_f32.h"

namespace apotnet {
namespace winograd_avx2 {
constexpr const char* kName = "avx2";
constexpr int64_t kLanes = 8;
typedef __m256 Vector;

// 12 sums, 2 factors and the broadcast one fit the 16 registers.
constexpr int kRowsOfTwo = 6, kRowsOfOne = 12, kRowsMultiple = 12, kOutputsOfTwo = 4, kOutputsOfOne = 8;

inline Vector multiply_add(float a, Vector b, Vector c) { return _mm256_fmadd_ps(_mm256_set1_ps(a), b, c); }
inline Vector load(const uint8_t* codes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes))));
}

#include "core/kernels/cpu/winograd_f32_body.h"
}  // namespace winograd_avx2

const WinogradKernels& avx2_winograd() { return winograd_avx2::kWinograd; }

}  // namespace apotnet
