#include <algorithm>
#include <cmath>

#include "core/kernels/reference/reference.h"

namespace apotnet {
namespace {

// scale and shift of one channel, the two numbers that batch norm applies (F10).
struct ScaleShift {
  double scale, shift;
};

template <typename Float>
ScaleShift scale_and_shift(Float mean, Float variance, Float gamma, Float beta, double epsilon) {
  const double scale = gamma / std::sqrt(static_cast<double>(variance) + epsilon);
  return {scale, beta - mean * scale};
}

// Per channel: sum of g and sum of g * x_hat, in double, row by row.
template <typename Float>
void gradient_sums(std::span<const Float> gy, std::span<const Float> x, std::span<const Float> mean,
                   const std::vector<double>& inverse_std, std::vector<double>& sum_g, std::vector<double>& sum_gx) {
  const size_t channels = mean.size();
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = i % channels;
    sum_g[c] += gy[i];
    sum_gx[c] += gy[i] * (static_cast<double>(x[i]) - mean[c]) * inverse_std[c];
  }
}

}  // namespace

void ReferenceNorm::batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto xs = x.data<Float>();
    const auto channels = static_cast<size_t>(mean.elements());
    const double count = static_cast<double>(xs.size() / channels);
    std::vector<double> sum(channels), squares(channels);
    for (size_t i = 0; i < xs.size(); ++i) sum[i % channels] += xs[i];
    for (size_t i = 0; i < xs.size(); ++i) {
      const double centred = xs[i] - sum[i % channels] / count;
      squares[i % channels] += centred * centred;
    }
    for (size_t c = 0; c < channels; ++c) {
      mean.data<Float>()[c] = static_cast<Float>(sum[c] / count);
      variance.data<Float>()[c] = static_cast<Float>(squares[c] / count);
    }
  });
}

void ReferenceNorm::batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
                               const Tensor& beta, double epsilon, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto xs = x.data<Float>();
    const auto ys = y.data<Float>();
    const auto channels = static_cast<size_t>(mean.elements());
    for (size_t c = 0; c < channels; ++c) {
      const auto [scale, shift] = scale_and_shift(mean.data<Float>()[c], variance.data<Float>()[c],
                                                  gamma.data<Float>()[c], beta.data<Float>()[c], epsilon);
      for (size_t i = c; i < xs.size(); i += channels)
        ys[i] = xs[i] * static_cast<Float>(scale) + static_cast<Float>(shift);
    }
  });
}

void ReferenceNorm::batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                        const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                        Tensor& gbeta) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>(), xs = x.data<Float>(), means = mean.data<Float>();
    const auto gxs = gx.data<Float>();
    const size_t channels = means.size();
    const double count = static_cast<double>(xs.size() / channels);
    std::vector<double> inverse_std(channels), sum_g(channels), sum_gx(channels);
    for (size_t c = 0; c < channels; ++c)
      inverse_std[c] = 1 / std::sqrt(static_cast<double>(variance.data<Float>()[c]) + epsilon);
    gradient_sums<Float>(gys, xs, means, inverse_std, sum_g, sum_gx);
    for (size_t i = 0; i < xs.size(); ++i) {
      const size_t c = i % channels;
      const double x_hat = (static_cast<double>(xs[i]) - means[c]) * inverse_std[c];
      gxs[i] = static_cast<Float>(gamma.data<Float>()[c] * inverse_std[c] *
                                  (gys[i] - sum_g[c] / count - x_hat * sum_gx[c] / count));
    }
    for (size_t c = 0; c < channels; ++c) {
      ggamma.data<Float>()[c] = static_cast<Float>(sum_gx[c]);
      gbeta.data<Float>()[c] = static_cast<Float>(sum_g[c]);
    }
  });
}

void ReferenceNorm::batch_norm_eval_backward(const Tensor& gy, const Tensor& x, const Tensor& mean,
                                             const Tensor& variance, const Tensor& gamma, double epsilon, Tensor& gx,
                                             Tensor& ggamma, Tensor& gbeta) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>(), xs = x.data<Float>(), means = mean.data<Float>();
    const auto gxs = gx.data<Float>();
    const size_t channels = means.size();
    std::vector<double> inverse_std(channels), sum_g(channels), sum_gx(channels);
    for (size_t c = 0; c < channels; ++c)
      inverse_std[c] = 1 / std::sqrt(static_cast<double>(variance.data<Float>()[c]) + epsilon);
    gradient_sums<Float>(gys, xs, means, inverse_std, sum_g, sum_gx);
    for (size_t i = 0; i < xs.size(); ++i)
      gxs[i] = static_cast<Float>(gys[i] * gamma.data<Float>()[i % channels] * inverse_std[i % channels]);
    for (size_t c = 0; c < channels; ++c) {
      ggamma.data<Float>()[c] = static_cast<Float>(sum_gx[c]);
      gbeta.data<Float>()[c] = static_cast<Float>(sum_g[c]);
    }
  });
}

void ReferenceNorm::update_running_statistics(const Tensor& mean, const Tensor& variance, int64_t count,
                                              double momentum, Tensor& running_mean, Tensor& running_variance) const {
  dispatch_float(mean.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const double unbias = static_cast<double>(count) / static_cast<double>(std::max<int64_t>(count - 1, 1));
    const auto blend = [&](std::span<const Float> batch, double factor, std::span<Float> running) {
      for (size_t c = 0; c < batch.size(); ++c)
        running[c] = static_cast<Float>((1 - momentum) * running[c] + momentum * factor * batch[c]);
    };
    blend(mean.data<Float>(), 1, running_mean.data<Float>());
    blend(variance.data<Float>(), unbias, running_variance.data<Float>());
  });
}

void ReferenceNorm::weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const {
  dispatch_float(w.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto ws = w.data<Float>();
    const double count = static_cast<double>(ws.size());
    double sum = 0, squares = 0;
    for (const Float value : ws) sum += value;
    for (const Float value : ws) squares += (value - sum / count) * (value - sum / count);
    const auto m = static_cast<Float>(sum / count);
    const auto s = static_cast<Float>(std::sqrt(squares / (count - 1)));
    for (size_t i = 0; i < ws.size(); ++i) w_hat.data<Float>()[i] = (ws[i] - m) / s;
    mean.data<Float>()[0] = m;
    std.data<Float>()[0] = s;
  });
}

void ReferenceNorm::weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std,
                                         bool constant_statistics, Tensor& gw) const {
  dispatch_float(g.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gs = g.data<Float>(), ws = w_hat.data<Float>();
    const double count = static_cast<double>(gs.size()), s = std.data<Float>()[0];
    double sum_g = 0, sum_gw = 0;
    if (!constant_statistics)
      for (size_t i = 0; i < gs.size(); ++i) {
        sum_g += gs[i];
        sum_gw += static_cast<double>(gs[i]) * ws[i];
      }
    for (size_t i = 0; i < gs.size(); ++i)
      gw.data<Float>()[i] = static_cast<Float>((gs[i] - sum_g / count - ws[i] * sum_gw / (count - 1)) / s);
  });
}

}  // namespace apotnet
