#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/total_sums.h"
#include "core/kernels/cuda/weight_terms.h"

namespace apotnet::cuda {
namespace {

// Sums of a and of the products a b.
template <int N>
struct ProductTerm {
  const float *a, *b;
  __device__ void operator()(int64_t i, ChannelSums& sums) const {
    const Pack<float, N> as = load<N>(a, i), bs = load<N>(b, i);
    for (int j = 0; j < N; ++j) {
      sums.a.add(as[j]);
      sums.b.add_product(as[j], bs[j]);
    }
  }
};

struct FinishMoments {
  Wide count;
  float *mean, *std;
  int* trouble;
  __device__ void operator()(const Wide& sum, const Wide& squares) const {
    store_moments(sum, squares, count, mean, std, trouble);
  }
};

struct FinishSlopes {
  Wide count;
  WeightSlopes* slopes;
  __device__ void operator()(const Wide& sum_g, const Wide& sum_gw) const {
    *slopes = WeightSlopes::of(sum_g, sum_gw, count);
  }
};

template <int N>
__global__ void __launch_bounds__(kThreads)
    standardise_kernel(int64_t packs, const float* w, const float* mean, const float* std, float* w_hat) {
  const float m = mean[0], s = std[0];
  for_each_index(packs, [&](int64_t i) {
    Pack<float, N> values = load<N>(w, i * N);
    for (int j = 0; j < N; ++j) values[j] = (values[j] - m) / s;
    store(w_hat, i * N, values);
  });
}

// Without slopes g / std.
template <int N>
__global__ void __launch_bounds__(kThreads)
    standardise_gradient_kernel(int64_t packs, const float* g, const float* w_hat, const float* std,
                                const WeightSlopes* slopes, float* gw) {
  const float s = std[0];
  const WeightSlopes own = slopes ? *slopes : WeightSlopes{};
  for_each_index(packs, [&](int64_t i) {
    Pack<float, N> values = load<N>(g, i * N);
    const Pack<float, N> ws = load<N>(w_hat, i * N);
    for (int j = 0; j < N; ++j) values[j] = own.gradient(values[j], ws[j], s);
    store(gw, i * N, values);
  });
}

}  // namespace

void CudaNorm::weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const {
  const int64_t count = w.elements();
  with_pack(aligned_count(count, {&w, &w_hat}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_total<N>({"weight moments", w.bytes(), 8}, count, ProductTerm<N>{input<float>(w), input<float>(w)},
                    FinishMoments{Wide::of(static_cast<double>(count)), output<float>(mean), output<float>(std),
                                  Context::get().trouble()});
    launch({"weight norm", w.bytes(), w_hat.bytes()}, standardise_kernel<N>, blocks_for(count / N), count / N,
           input<float>(w), input<float>(mean), input<float>(std), output<float>(w_hat));
  });
}

void CudaNorm::weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std, bool constant_statistics,
                                    Tensor& gw) const {
  const int64_t count = g.elements();
  Scratch<WeightSlopes> slopes(1);
  with_pack(aligned_count(count, {&g, &w_hat, &gw}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    if (!constant_statistics)
      launch_total<N>({"weight gradient sums", 2 * g.bytes(), 8}, count,
                      ProductTerm<N>{input<float>(g), input<float>(w_hat)},
                      FinishSlopes{Wide::of(static_cast<double>(count)), slopes.data()});
    launch({"weight norm gradient", 2 * g.bytes(), gw.bytes()}, standardise_gradient_kernel<N>, blocks_for(count / N),
           count / N, input<float>(g), input<float>(w_hat), input<float>(std),
           constant_statistics ? nullptr : slopes.data(), output<float>(gw));
  });
}

}  // namespace apotnet::cuda
