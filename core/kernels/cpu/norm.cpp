#include <algorithm>
#include <cmath>

#include "core/kernels/cpu/channel_rows.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {

ScaleShift::ScaleShift(const ChannelRows& rows, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
                       const Tensor& beta, double epsilon) {
  const auto exact_scale = [&](size_t c) {
    return gamma.data<float>()[c] / std::sqrt(static_cast<double>(variance.data<float>()[c]) + epsilon);
  };
  scale = rows.widened<float>([&](size_t c) { return static_cast<float>(exact_scale(c)); });
  shift = rows.widened<float>(
      [&](size_t c) { return static_cast<float>(beta.data<float>()[c] - mean.data<float>()[c] * exact_scale(c)); });
}

NormGradient::NormGradient(const ChannelRows& rows, const ChannelRows::Sums& sums, const Tensor& mean,
                           const Tensor& variance, const Tensor& gamma, double epsilon, bool constant_statistics,
                           Tensor& ggamma, Tensor& gbeta) {
  // gx = gamma / std * (g - mean(g) - x_hat * mean(g x_hat)) is linear in g and x: three numbers per channel.
  const auto count = static_cast<double>(rows.pixels());
  std::vector<double> factor(sums.a.size()), slope(factor.size()), constant(factor.size());
  for (size_t i = 0; i < factor.size(); ++i) {
    const double inverse_std = 1 / std::sqrt(static_cast<double>(variance.data<float>()[i]) + epsilon);
    factor[i] = gamma.data<float>()[i] * inverse_std;
    if (!constant_statistics) {
      slope[i] = -factor[i] * inverse_std * inverse_std * sums.b[i] / count;
      constant[i] = -factor[i] * sums.a[i] / count - slope[i] * mean.data<float>()[i];
    }
    ggamma.data<float>()[i] = static_cast<float>(sums.b[i] * inverse_std);
    gbeta.data<float>()[i] = static_cast<float>(sums.a[i]);
  }
  a = rows.widened<float>([&](size_t i) { return static_cast<float>(factor[i]); });
  b = rows.widened<float>([&](size_t i) { return static_cast<float>(slope[i]); });
  c = rows.widened<float>([&](size_t i) { return static_cast<float>(constant[i]); });
}

void CpuNorm::batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const {
  const float* xs = x.data<float>().data();
  const ChannelRows rows(x, mean.elements());
  const ChannelRows::Sums sums =
      rows.sum([&](int64_t, int64_t first, int64_t count, int64_t width, double* sum, double* squares) {
        loops().channel_sums(count, width, xs + first, sum, squares);
      });
  const auto count = static_cast<double>(rows.pixels());
  for (size_t c = 0; c < sums.a.size(); ++c) {
    const double m = sums.a[c] / count;
    mean.data<float>()[c] = static_cast<float>(m);
    variance.data<float>()[c] = static_cast<float>(std::max(0.0, sums.b[c] / count - m * m));
  }
}

void CpuNorm::batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
                         const Tensor& beta, double epsilon, Tensor& y) const {
  const ChannelRows rows(x, mean.elements());
  const ScaleShift norm(rows, mean, variance, gamma, beta, epsilon);
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().scale_shift(count, width, xs + first, norm.scale.data(), norm.shift.data(), ys + first);
  });
}

void CpuNorm::batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                  const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                  Tensor& gbeta) const {
  const ChannelRows rows(x, mean.elements());
  const float *gys = gy.data<float>().data(), *xs = x.data<float>().data();
  const std::vector<float> means = rows.widened<float>([&](size_t c) { return mean.data<float>()[c]; });
  const ChannelRows::Sums sums =
      rows.sum([&](int64_t, int64_t first, int64_t count, int64_t width, double* sum_g, double* sum_gx) {
        loops().gradient_sums(count, width, gys + first, xs + first, means.data(), sum_g, sum_gx);
      });
  const NormGradient gradient(rows, sums, mean, variance, gamma, epsilon, false, ggamma, gbeta);
  float* gxs = gx.data<float>().data();
  rows.for_each([&](int64_t, int64_t first, int64_t count, int64_t width) {
    loops().norm_gradient(count, width, gys + first, xs + first, gradient.a.data(), gradient.b.data(),
                          gradient.c.data(), gxs + first);
  });
}

void CpuNorm::weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const {
  const float* ws = w.data<float>().data();
  const auto count = static_cast<double>(w.elements());
  const double centre = loops().sum(w.elements(), ws) / count;
  const auto m = static_cast<float>(centre);
  const auto s = static_cast<float>(std::sqrt(loops().sum_of_squares(w.elements(), ws, centre) / (count - 1)));
  loops().standardize(w.elements(), ws, m, s, w_hat.data<float>().data());
  mean.data<float>()[0] = m;
  std.data<float>()[0] = s;
}

void CpuNorm::weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std, bool constant_statistics,
                                   Tensor& gw) const {
  const float *gs = g.data<float>().data(), *ws = w_hat.data<float>().data();
  const int64_t size = g.elements();
  const auto count = static_cast<double>(size);
  const double mean = constant_statistics ? 0 : loops().sum(size, gs) / count;
  const double slope = constant_statistics ? 0 : loops().dot(size, gs, ws) / (count - 1);
  loops().standardize_gradient(size, gs, ws, mean, slope, std.data<float>()[0], gw.data<float>().data());
}

}  // namespace apotnet
