#include <algorithm>

#include "core/base/parallel.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace {

constexpr int64_t kGrain = 1 << 15;

}  // namespace

bool has_byte_table(const Quantized& q) { return q.exact() && 2 * q.levels->k() < Loops::kTableSize; }

std::vector<uint8_t> byte_table(const LevelSet& levels) {
  std::vector<uint8_t> table(Loops::kTableSize);
  std::ranges::transform(levels.half_step_table(), table.begin(),
                         [](int16_t code) { return static_cast<uint8_t>(code); });
  return table;
}

void CpuQuantize::quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const {
  if (!has_byte_table(out)) return ReferenceQuantize::quantize_weight(w_hat, alpha, out);
  const std::vector<uint8_t> table = byte_table(*out.levels);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float* ws = w_hat.data<float>().data();
  int8_t* codes = out.codes.data<int8_t>().data();
  parallel_ranges(w_hat.elements(), kGrain, [&](int64_t i, int64_t end) {
    loops().quantize_signed(end - i, ws + i, a, k, out.levels->ties_to_lower(), table.data(), codes + i);
  });
  out.step.data<float>()[0] = a / static_cast<float>(k);
}

void CpuQuantize::quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha,
                                           const Quantized& out, QuantizerVariant variant, Tensor& gw,
                                           Tensor& galpha) const {
  if (!out.exact()) return ReferenceQuantize::quantize_weight_backward(g, w_hat, alpha, out, variant, gw, galpha);
  const bool clips_gradient = variant == QuantizerVariant::imagenet && out.levels->method() != LevelMethod::ternary;
  const double sum = loops().quantize_signed_gradient(
      g.elements(), g.data<float>().data(), w_hat.data<float>().data(), out.codes.data<int8_t>().data(),
      alpha.data<float>()[0], static_cast<int32_t>(out.levels->k()), clips_gradient, gw.data<float>().data());
  galpha.data<float>()[0] = static_cast<float>(sum);
}

void CpuQuantize::quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const {
  if (!out.exact() || out.levels->ties_to_lower()) return ReferenceQuantize::quantize_activation(x, alpha, out);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float* xs = x.data<float>().data();
  uint8_t* codes = out.codes.data<uint8_t>().data();
  if (has_byte_table(out)) {
    const std::vector<uint8_t> table = byte_table(*out.levels);
    parallel_ranges(x.elements(), kGrain,
                    [&](int64_t i, int64_t end) { loops().quantize(end - i, xs + i, a, k, table.data(), codes + i); });
  } else {
    const int16_t* table = out.levels->half_step_table().data();
    parallel_ranges(x.elements(), kGrain,
                    [&](int64_t i, int64_t end) { loops().quantize_wide(end - i, xs + i, a, k, table, codes + i); });
  }
  out.step.data<float>()[0] = a / static_cast<float>(k);
}

void CpuQuantize::quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha,
                                               const Quantized& out, QuantizerVariant variant, bool adds, Tensor& gx,
                                               Tensor& galpha) const {
  if (!out.exact()) return ReferenceQuantize::quantize_activation_backward(g, x, alpha, out, variant, adds, gx, galpha);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float *gs = g.data<float>().data(), *xs = x.data<float>().data();
  const uint8_t* codes = out.codes.data<uint8_t>().data();
  float* gxs = gx.data<float>().data();
  std::vector<double> sums(static_cast<size_t>((x.elements() + kGrain - 1) / kGrain));
  parallel_ranges(x.elements(), kGrain, [&](int64_t i, int64_t end) {
    sums[static_cast<size_t>(i / kGrain)] = loops().quantize_gradient(
        end - i, gs + i, xs + i, codes + i, a, k, variant == QuantizerVariant::imagenet, adds, gxs + i);
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  galpha.data<float>()[0] = static_cast<float>(sum);
}

}  // namespace apotnet
