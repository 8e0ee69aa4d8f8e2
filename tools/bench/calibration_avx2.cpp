#include <immintrin.h>

#include "tools/bench/calibration_loops.h"

namespace apotnet {
namespace {

constexpr int kChains = 10;  // latency x instructions per cycle of the processors there are, and all in registers

float run_fma(int64_t rounds) {
  const __m256 half = _mm256_set1_ps(0.5f), quarter = _mm256_set1_ps(0.25f);
  __m256 chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < kChains; ++i) chains[i] = _mm256_fmadd_ps(chains[i], half, quarter);
  __m256 sum = chains[0];
  for (int i = 1; i < kChains; ++i) sum = _mm256_add_ps(sum, chains[i]);
  return _mm256_cvtss_f32(sum);
}

float run_maddubs(int64_t rounds) {
  const __m256i weights = _mm256_set1_epi8(3);
  __m256i chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm256_set1_epi8(static_cast<char>(i + 1));
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < kChains; ++i) chains[i] = _mm256_maddubs_epi16(chains[i], weights);
  __m256i sum = chains[0];
  for (int i = 1; i < kChains; ++i) sum = _mm256_add_epi16(sum, chains[i]);
  return static_cast<float>(_mm256_extract_epi16(sum, 0));
}

}  // namespace

CalibrationLoop fma_loop_avx2() { return {kChains * 8, run_fma}; }
CalibrationLoop maddubs_loop_avx2() { return {kChains * 32, run_maddubs}; }

}  // namespace apotnet
