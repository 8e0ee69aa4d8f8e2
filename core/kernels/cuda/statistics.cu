#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/norm_terms.h"
#include "core/kernels/cuda/running_statistics.h"

namespace apotnet::cuda {
namespace {

// Sums of x and its squares; where there are steps, y = sums of codes becomes values on the way (F9).
template <int N, bool kScales>
struct StatisticsTerm {
  static constexpr bool kWhole = false;
  using Prepared = NothingPrepared;
  const float* x;
  float* y;
  const float *step_a, *step_b;

  __device__ Prepared prepare(int) const { return {}; }
  __device__ void add(int64_t i, const Prepared*, ChannelSums* sums, Wide&) const {
    Pack<float, N> values = load<N>(x, i);
    if constexpr (kScales) {
      const float step = step_a[0] * step_b[0];
      for (int j = 0; j < N; ++j) values[j] *= step;
      store(y, i, values);
    }
    for (int j = 0; j < N; ++j) {
      sums[j].a.add(values[j]);
      sums[j].b.add_product(values[j], values[j]);
    }
  }
};

struct FinishStatistics {
  static constexpr bool kWhole = false;
  Wide count;
  float *mean, *variance;

  __device__ void operator()(int c, const Wide& sum, const Wide& squares) const {
    const Wide m = sum / count, v = squares / count - m * m;
    mean[c] = m.high;
    variance[c] = v.high < 0 ? 0.0f : v.high;
  }
  __device__ void whole(const Wide&) const {}
};

template <int N>
struct SumTerm {
  static constexpr bool kWhole = false;
  using Prepared = NothingPrepared;
  const float* x;

  __device__ Prepared prepare(int) const { return {}; }
  __device__ void add(int64_t i, const Prepared*, ChannelSums* sums, Wide&) const {
    const Pack<float, N> values = load<N>(x, i);
    for (int j = 0; j < N; ++j) sums[j].a.add(values[j]);
  }
};

struct FinishSum {
  static constexpr bool kWhole = false;
  float* sums;
  __device__ void operator()(int c, const Wide& sum, const Wide&) const { sums[c] = sum.high; }
  __device__ void whole(const Wide&) const {}
};

__global__ void __launch_bounds__(kThreads)
    update_running_kernel(int64_t channels, const float* mean, const float* variance, RunningArrays running) {
  for_each_index(channels, [&](int64_t c) { running.update(c, mean[c], variance[c]); });
}

}  // namespace

void CudaNorm::batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const {
  const int64_t channels = mean.elements(), pixels = x.elements() / channels;
  with_pack(channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_sums<N>(
        {"statistics", x.bytes(), 2 * mean.bytes()}, pixels, channels,
        StatisticsTerm<N, false>{input<float>(x), nullptr, nullptr, nullptr},
        FinishStatistics{Wide::of(static_cast<double>(pixels)), output<float>(mean), output<float>(variance)});
  });
}

void launch_scale_statistics(const Tensor& a, const Tensor& b, Tensor& y, Tensor& mean, Tensor& variance) {
  const int64_t channels = mean.elements(), pixels = y.elements() / channels;
  with_pack(channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_sums<N>(
        {"scale and statistics", y.bytes(), y.bytes() + 2 * mean.bytes()}, pixels, channels,
        StatisticsTerm<N, true>{input<float>(y), output<float>(y), input<float>(a), input<float>(b)},
        FinishStatistics{Wide::of(static_cast<double>(pixels)), output<float>(mean), output<float>(variance)});
  });
}

void launch_channel_sums(const Tensor& gy, Tensor& sums) {
  const int64_t channels = sums.elements();
  with_pack(channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_sums<N>({"channel sums", gy.bytes(), sums.bytes()}, gy.elements() / channels, channels,
                   SumTerm<N>{input<float>(gy)}, FinishSum{output<float>(sums)});
  });
}

void CudaNorm::update_running_statistics(const Tensor& mean, const Tensor& variance, int64_t count, double momentum,
                                         Tensor& running_mean, Tensor& running_variance) const {
  launch({"running statistics", 4 * mean.bytes(), 2 * mean.bytes()}, update_running_kernel, blocks_for(mean.elements()),
         mean.elements(), input<float>(mean), input<float>(variance),
         RunningArrays(count, momentum, running_mean, running_variance));
}

}  // namespace apotnet::cuda
