#include <immintrin.h>

#include "core/kernels/cpu/few_channels.h"

namespace apotnet {
namespace {

struct Sixteen {
  __m512 all;
  static Sixteen zero() { return {_mm512_setzero_ps()}; }
  static Sixteen load(const float* from) { return {_mm512_loadu_ps(from)}; }
  void add_product(float x, const Sixteen& w) { all = _mm512_fmadd_ps(_mm512_set1_ps(x), w.all, all); }
  void store(float* to) const { _mm512_storeu_ps(to, all); }
};

constexpr int kPixels = 8;
#include "core/kernels/cpu/few_channels_body.h"

}  // namespace

void avx512_few_channels(const FewChannelsStrip& strip) { few_channels(strip); }

}  // namespace apotnet
