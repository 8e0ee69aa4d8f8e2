#include <algorithm>
#include <cmath>

#include "core/base/parallel.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace {

// Rows of a [rows, channels] tensor are cut into chunks of about 32,768 elements.
struct RowChunks {
  int64_t rows, channels, grain, count;

  explicit RowChunks(const Tensor& x, int64_t channel_count)
      : rows(x.elements() / channel_count),
        channels(channel_count),
        grain(std::max<int64_t>(1, (1 << 15) / channel_count)),
        count((rows + grain - 1) / grain) {}

  // body(chunk, first element, rows of the chunk)
  template <typename F>
  void for_each(F&& body) const {
    parallel_for(count, [&](int64_t chunk) {
      const int64_t first = chunk * grain;
      body(chunk, first * channels, std::min(rows - first, grain));
    });
  }
};

// Two sums per channel over all rows: body fills those of one chunk, the chunks are added in order.
template <typename F>
std::pair<std::vector<double>, std::vector<double>> sum_over_chunks(const RowChunks& chunks, F&& body) {
  const auto channels = static_cast<size_t>(chunks.channels);
  std::vector<double> partial(2 * channels * static_cast<size_t>(chunks.count));
  chunks.for_each([&](int64_t chunk, int64_t first, int64_t rows) {
    double* sums = partial.data() + 2 * static_cast<size_t>(chunk) * channels;
    body(first, rows, sums, sums + channels);
  });
  std::vector<double> a(channels), b(channels);
  for (size_t i = 0; i < partial.size(); ++i) (i / channels % 2 == 0 ? a : b)[i % channels] += partial[i];
  return {a, b};
}

}  // namespace

void CpuNorm::batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const {
  const float* xs = x.data<float>().data();
  const RowChunks chunks(x, mean.elements());
  const auto [sum, squares] = sum_over_chunks(chunks, [&](int64_t first, int64_t rows, double* a, double* b) {
    loops().channel_sums(rows, chunks.channels, xs + first, a, b);
  });
  const auto count = static_cast<double>(chunks.rows);
  for (size_t c = 0; c < sum.size(); ++c) {
    const double m = sum[c] / count;
    mean.data<float>()[c] = static_cast<float>(m);
    variance.data<float>()[c] = static_cast<float>(std::max(0.0, squares[c] / count - m * m));
  }
}

void CpuNorm::batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
                         const Tensor& beta, double epsilon, Tensor& y) const {
  const RowChunks chunks(x, mean.elements());
  std::vector<float> scale(mean.data<float>().size()), shift(scale.size());
  for (size_t c = 0; c < scale.size(); ++c) {
    const double s = gamma.data<float>()[c] / std::sqrt(static_cast<double>(variance.data<float>()[c]) + epsilon);
    scale[c] = static_cast<float>(s);
    shift[c] = static_cast<float>(beta.data<float>()[c] - mean.data<float>()[c] * s);
  }
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  chunks.for_each([&](int64_t, int64_t first, int64_t rows) {
    loops().scale_shift(rows, chunks.channels, xs + first, scale.data(), shift.data(), ys + first);
  });
}

void CpuNorm::batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                  const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                  Tensor& gbeta) const {
  const RowChunks chunks(x, mean.elements());
  const float *gys = gy.data<float>().data(), *xs = x.data<float>().data(), *means = mean.data<float>().data();
  float* gxs = gx.data<float>().data();
  const auto [sum_g, sum_gx] = sum_over_chunks(chunks, [&](int64_t first, int64_t rows, double* a, double* b) {
    loops().gradient_sums(rows, chunks.channels, gys + first, xs + first, means, a, b);
  });
  // gx = gamma / std * (g - mean(g) - x_hat * mean(g x_hat)) is linear in g and x: three numbers per channel.
  const auto count = static_cast<double>(chunks.rows);
  std::vector<float> a(sum_g.size()), b(a.size()), c(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const double inverse_std = 1 / std::sqrt(static_cast<double>(variance.data<float>()[i]) + epsilon);
    const double factor = gamma.data<float>()[i] * inverse_std;
    const double slope = -factor * inverse_std * inverse_std * sum_gx[i] / count;
    a[i] = static_cast<float>(factor);
    b[i] = static_cast<float>(slope);
    c[i] = static_cast<float>(-factor * sum_g[i] / count - slope * means[i]);
    ggamma.data<float>()[i] = static_cast<float>(sum_gx[i] * inverse_std);
    gbeta.data<float>()[i] = static_cast<float>(sum_g[i]);
  }
  chunks.for_each([&](int64_t, int64_t first, int64_t rows) {
    loops().norm_gradient(rows, chunks.channels, gys + first, xs + first, a.data(), b.data(), c.data(), gxs + first);
  });
}

}  // namespace apotnet
