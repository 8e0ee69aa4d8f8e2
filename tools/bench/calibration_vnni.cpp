#include <immintrin.h>

#include "tools/bench/calibration_loops.h"

namespace apotnet {
namespace {

constexpr int kChains = 10;

float run_dpbusd(int64_t rounds) {
  const __m512i codes = _mm512_set1_epi8(2), weights = _mm512_set1_epi8(3);
  __m512i chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = _mm512_set1_epi32(i);
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < kChains; ++i) chains[i] = _mm512_dpbusd_epi32(chains[i], codes, weights);
  __m512i sum = chains[0];
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_epi32(sum, chains[i]);
  alignas(64) int32_t sums[16];
  _mm512_store_si512(sums, sum);
  return static_cast<float>(sums[0]);
}

}  // namespace

CalibrationLoop dpbusd_loop_vnni() { return {kChains * 64, run_dpbusd}; }

}  // namespace apotnet
