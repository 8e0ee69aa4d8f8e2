#include <limits>

#include "core/kernels/cpu/channel_rows.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

// Bound by memory: forward reads x and writes the result; backward reads g and x twice, first for the sums per channel
// that batch norm's gradient needs, then for the gradient itself, which overwrites g.

namespace apotnet {
namespace {

ScaleShift scale_shift(const ChannelRows& rows, const BatchNormTerms& norm) {
  return ScaleShift(rows, norm.mean, norm.variance, norm.gamma, norm.beta, norm.epsilon);
}

NormGradient norm_gradient(const ChannelRows& rows, const ChannelRows::Sums& sums, const BatchNormTerms& norm,
                           Tensor& ggamma, Tensor& gbeta) {
  return NormGradient(rows, sums, norm.mean, norm.variance, norm.gamma, norm.epsilon, norm.constant_statistics, ggamma,
                      gbeta);
}

std::vector<float> means_of(const ChannelRows& rows, const BatchNormTerms& norm) {
  return rows.widened<float>([&](size_t c) { return norm.mean.data<float>()[c]; });
}

// The second pass of the two backward lines whose masks are made again from x: 0 < relu(batch_norm(x)) <= limit.
void apply(const ChannelRows& rows, const ScaleShift& s, float limit, const NormGradient& gradient, const float* x,
           float* g) {
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().norm_relu_gradient(count, width, x + first, s.scale.data(), s.shift.data(), limit, gradient.a.data(),
                               gradient.b.data(), gradient.c.data(), g + first);
  });
}

}  // namespace

void CpuFused::norm_relu(const Tensor& x, const BatchNormTerms& norm, Tensor& y) const {
  const ChannelRows rows(x, norm.mean.elements());
  const ScaleShift s = scale_shift(rows, norm);
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().norm_relu(count, width, xs + first, s.scale.data(), s.shift.data(), ys + first);
  });
}

void CpuFused::norm_relu_backward(const Tensor& x, const BatchNormTerms& norm, Tensor& g, Tensor& ggamma,
                                  Tensor& gbeta) const {
  const ChannelRows rows(x, norm.mean.elements());
  const ScaleShift s = scale_shift(rows, norm);
  const std::vector<float> means = means_of(rows, norm);
  const float* xs = x.data<float>().data();
  float* gs = g.data<float>().data();
  const ChannelRows::Sums sums =
      rows.sum([&](int64_t, int64_t first, int64_t count, int64_t width, double* sum_g, double* sum_gx) {
        loops().norm_relu_sums(count, width, gs + first, xs + first, s.scale.data(), s.shift.data(), means.data(),
                               sum_g, sum_gx);
      });
  apply(rows, s, std::numeric_limits<float>::infinity(), norm_gradient(rows, sums, norm, ggamma, gbeta), xs, gs);
}

void CpuFused::norm_add_relu(const Tensor& x, const BatchNormTerms& norm, const Tensor& shortcut, Tensor& y) const {
  const ChannelRows rows(x, norm.mean.elements());
  const ScaleShift s = scale_shift(rows, norm);
  const float *xs = x.data<float>().data(), *shortcuts = shortcut.data<float>().data();
  float* ys = y.data<float>().data();
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().norm_add_relu(count, width, xs + first, s.scale.data(), s.shift.data(), shortcuts + first, ys + first);
  });
}

void CpuFused::norm_add_relu_backward(const Tensor& x, const Tensor& y, const BatchNormTerms& norm, Tensor& g,
                                      Tensor& gx, Tensor& ggamma, Tensor& gbeta) const {
  const ChannelRows rows(x, norm.mean.elements());
  const std::vector<float> means = means_of(rows, norm);
  const float *xs = x.data<float>().data(), *ys = y.data<float>().data();
  float *gs = g.data<float>().data(), *gxs = gx.data<float>().data();
  const ChannelRows::Sums sums =
      rows.sum([&](int64_t, int64_t first, int64_t count, int64_t width, double* sum_g, double* sum_gx) {
        loops().relu_sums(count, width, ys + first, xs + first, means.data(), gs + first, sum_g, sum_gx);
      });
  const NormGradient gradient = norm_gradient(rows, sums, norm, ggamma, gbeta);
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().norm_gradient(count, width, gs + first, xs + first, gradient.a.data(), gradient.b.data(), gradient.c.data(),
                          gxs + first);
  });
}

void CpuFused::norm_relu_quantize(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                  Quantized& out) const {
  if (!has_byte_table(out)) return ReferenceFused::norm_relu_quantize(x, norm, alpha, out);
  const ChannelRows rows(x, norm.mean.elements());
  const ScaleShift s = scale_shift(rows, norm);
  const std::vector<uint8_t> table = byte_table(*out.levels);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float* xs = x.data<float>().data();
  uint8_t* codes = out.codes.data<uint8_t>().data();
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().norm_relu_quantize(count, width, xs + first, s.scale.data(), s.shift.data(), a, k, table.data(),
                               codes + first);
  });
  out.step.data<float>()[0] = a / static_cast<float>(k);
}

void CpuFused::norm_relu_quantize_backward(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                           const Quantized& out, Tensor& g, Tensor& ggamma, Tensor& gbeta,
                                           Tensor& galpha) const {
  if (!out.exact()) return ReferenceFused::norm_relu_quantize_backward(x, norm, alpha, out, g, ggamma, gbeta, galpha);
  const ChannelRows rows(x, norm.mean.elements());
  const ScaleShift s = scale_shift(rows, norm);
  const std::vector<float> means = means_of(rows, norm);
  const float a = alpha.data<float>()[0];
  const auto k = static_cast<int32_t>(out.levels->k());
  const float* xs = x.data<float>().data();
  const uint8_t* codes = out.codes.data<uint8_t>().data();
  float* gs = g.data<float>().data();
  std::vector<double> alpha_sums(static_cast<size_t>(rows.chunks()));
  const ChannelRows::Sums sums =
      rows.sum([&](int64_t chunk, int64_t first, int64_t count, int64_t width, double* sum_g, double* sum_gx) {
        alpha_sums[static_cast<size_t>(chunk)] +=
            loops().norm_relu_quantize_sums(count, width, gs + first, xs + first, codes + first, s.scale.data(),
                                            s.shift.data(), means.data(), a, k, sum_g, sum_gx);
      });
  double sum = 0;
  for (const double part : alpha_sums) sum += part;
  galpha.data<float>()[0] = static_cast<float>(sum);
  apply(rows, s, a, norm_gradient(rows, sums, norm, ggamma, gbeta), xs, gs);
}

}  // namespace apotnet
