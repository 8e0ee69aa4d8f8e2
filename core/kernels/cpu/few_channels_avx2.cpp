#include <immintrin.h>

#include "core/kernels/cpu/few_channels.h"

namespace apotnet {
namespace {

struct Sixteen {
  __m256 low, high;
  static Sixteen zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Sixteen load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  void add_product(float x, const Sixteen& w) {
    const __m256 xs = _mm256_set1_ps(x);
    low = _mm256_fmadd_ps(xs, w.low, low);
    high = _mm256_fmadd_ps(xs, w.high, high);
  }
  void store(float* to) const {
    _mm256_storeu_ps(to, low);
    _mm256_storeu_ps(to + 8, high);
  }
};

constexpr int kPixels = 4;
#include "core/kernels/cpu/few_channels_body.h"

}  // namespace

void avx2_few_channels(const FewChannelsStrip& strip) { few_channels(strip); }

}  // namespace apotnet
