#include <algorithm>

#include "core/base/parallel.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace {

constexpr int64_t kGrain = 1 << 15;

}  // namespace

void CpuQuantize::quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const {
  if (!out.exact() || out.levels->ties_to_lower()) return ReferenceQuantize::quantize_activation(x, alpha, out);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float* xs = x.data<float>().data();
  uint8_t* codes = out.codes.data<uint8_t>().data();
  const int16_t* table = out.levels->half_step_table().data();
  parallel_ranges(x.elements(), kGrain,
                  [&](int64_t i, int64_t end) { loops().quantize(end - i, xs + i, a, k, table, codes + i); });
  out.step.data<float>()[0] = a / static_cast<float>(k);
}

void CpuQuantize::quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha,
                                               const Quantized& out, QuantizerVariant variant, Tensor& gx,
                                               Tensor& galpha) const {
  if (!out.exact()) return ReferenceQuantize::quantize_activation_backward(g, x, alpha, out, variant, gx, galpha);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float *gs = g.data<float>().data(), *xs = x.data<float>().data();
  const uint8_t* codes = out.codes.data<uint8_t>().data();
  float* gxs = gx.data<float>().data();
  std::vector<double> sums(static_cast<size_t>((x.elements() + kGrain - 1) / kGrain));
  parallel_ranges(x.elements(), kGrain, [&](int64_t i, int64_t end) {
    sums[static_cast<size_t>(i / kGrain)] = loops().quantize_gradient(end - i, gs + i, xs + i, codes + i, a, k,
                                                                      variant == QuantizerVariant::imagenet, gxs + i);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  galpha.data<float>()[0] = static_cast<float>(sum);
}

}  // namespace apotnet
