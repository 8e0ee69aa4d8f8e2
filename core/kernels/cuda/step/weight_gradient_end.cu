#include "core/kernels/cuda/jobs.h"
#include "core/kernels/cuda/levels.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "core/kernels/cuda/weight_terms.h"

namespace apotnet::cuda {
namespace {

// A weight as the forward pass left it.
struct NormalisedWeight {
  const float *w, *mean, *std;  // mean is null where w is taken as it stands

  explicit NormalisedWeight(const WeightToQuantize& weight)
      : w(input<float>(weight.w)),
        mean(weight.normalises ? input<float>(weight.mean) : nullptr),
        std(weight.normalises ? input<float>(weight.std) : nullptr) {}
  NormalisedWeight() = default;

  // N of w_hat, bits as they were when codes were made of them.
  template <int N>
  __device__ Pack<float, N> at(int64_t i) const {
    Pack<float, N> values = load<N>(w, i);
    if (!mean) return values;
    const float m = mean[0], s = std[0];
    for (int j = 0; j < N; ++j) values[j] = (values[j] - m) / s;
    return values;
  }
};

// Little, for there are `splits` numbers to read for each element.
constexpr int64_t kPerBlock = 4 * kThreads;

struct QuantizerJob {
  const float *partial, *x_step;
  int splits;
  float k;
  NormalisedWeight weight;
  const float* alpha;
  const int8_t* codes;
  bool clips;
  WeightSlopes* slopes;  // null: mean and std are constants, or there are none
  int64_t count;
  Wide wide_count;
  float *gw, *galpha;
};

// Adds up the partial sums and goes back through the quantizer (F6), and through a normalisation with constants (F4).
template <int N>
__global__ void __launch_bounds__(kThreads)
    quantizer_gradient_kernel(const __grid_constant__ Jobs<QuantizerJob> all, Wide* partial, unsigned* tickets) {
  const JobPlace place = all.place();
  const QuantizerJob& job = all.jobs[place.job];
  const float step = job.x_step[0], alpha = job.alpha[0];
  const float divisor = job.weight.std && !job.slopes ? job.weight.std[0] : 1;
  Wide sums[3] = {};  // of alpha's gradient, of g, of g * w_hat
  for_each_of_block<N, kPerBlock>(place.block, job.count, [&](int64_t i) {
    Pack<float, N> g = load<N>(job.partial, i);
    for (int split = 1; split < job.splits; ++split) {
      const Pack<float, N> more = load<N>(job.partial, split * job.count + i);
      for (int j = 0; j < N; ++j) g[j] += more[j];
    }
    const Pack<float, N> w_hat = job.weight.at<N>(i);
    const Pack<int8_t, N> codes = load<N>(job.codes, i);
    for (int j = 0; j < N; ++j) {
      g[j] *= step;
      const float z = w_hat[j] / alpha;
      sums[0].add_product(g[j], signed_alpha_factor(z, static_cast<float>(codes[j]), job.k));
      if (job.clips && fabsf(z) > 1) g[j] = 0;
      sums[1].add(g[j]);
      sums[2].add_product(g[j], w_hat[j]);
      g[j] /= divisor;
    }
    store(job.gw, i, g);
  });
  if (!job_sums(sums, place, partial, tickets) || threadIdx.x != 0) return;
  job.galpha[0] = sums[0].high;
  if (job.slopes) *job.slopes = WeightSlopes::of(sums[1], sums[2], job.wide_count);
}

struct NormJob {
  NormalisedWeight weight;
  const WeightSlopes* slopes;
  int64_t count;
  float* gw;
};

// Back through mean and std (F4).
template <int N>
__global__ void __launch_bounds__(kThreads) norm_gradient_kernel(const __grid_constant__ Jobs<NormJob> all) {
  const JobPlace place = all.place();
  const NormJob& job = all.jobs[place.job];
  const WeightSlopes slopes = *job.slopes;
  const float std = job.weight.std[0];
  for_each_of_block<N, kPerBlock>(place.block, job.count, [&](int64_t i) {
    Pack<float, N> g = load<N>(job.gw, i);
    const Pack<float, N> w_hat = job.weight.at<N>(i);
    for (int j = 0; j < N; ++j) g[j] = slopes.gradient(g[j], w_hat[j], std);
    store(job.gw, i, g);
  });
}

bool has_slopes(const WeightGradientEnd& end) { return end.weight.normalises && !end.constant_statistics; }

void require_shapes(const WeightGradientEnd& end) {
  const int64_t count = end.weight.w.elements();
  require(count > 0 && end.partial.elements() % count == 0 && end.partial.size(0) == end.partial.elements() / count,
          "partial sums ", end.partial.shape(), " of a weight ", end.weight.w.shape());
}

template <int N>
void launch_quantizer_gradients(const std::vector<WeightGradientEnd>& ends, WeightSlopes* slopes) {
  JobQueue<QuantizerJob> queue(
      "weight gradients", [](const Node& node, unsigned blocks, const Jobs<QuantizerJob>& jobs) {
        Scratch<Wide> partial(3 * size_t{blocks});
        launch(node, quantizer_gradient_kernel<N>, blocks, jobs, partial.data(), Context::get().tickets());
      });
  for (size_t i = 0; i < ends.size(); ++i) {
    WeightGradientEnd end = ends[i];
    require_shapes(end);
    const Quantized& q = end.weight.out;
    const int64_t count = end.weight.w.elements();
    queue.add({.partial = input<float>(end.partial),
               .x_step = input<float>(end.x_step),
               .splits = static_cast<int>(end.partial.size(0)),
               .k = static_cast<float>(q.levels->k()),
               .weight = NormalisedWeight(end.weight),
               .alpha = input<float>(end.weight.alpha),
               .codes = input<int8_t>(q.codes),
               .clips = end.variant == QuantizerVariant::imagenet && q.levels->method() != LevelMethod::ternary,
               .slopes = has_slopes(end) ? slopes + i : nullptr,
               .count = count,
               .wide_count = Wide::of(static_cast<double>(count)),
               .gw = output<float>(end.gw),
               .galpha = output<float>(end.galpha)},
              blocks_of_job(count, kPerBlock), end.partial.bytes() + end.weight.w.bytes() + q.codes.bytes(),
              end.gw.bytes());
  }
  queue.run();
}

template <int N>
void launch_norm_gradients(const std::vector<WeightGradientEnd>& ends, const WeightSlopes* slopes) {
  JobQueue<NormJob> queue("weight norm gradients", [](const Node& node, unsigned blocks, const Jobs<NormJob>& jobs) {
    launch(node, norm_gradient_kernel<N>, blocks, jobs);
  });
  for (size_t i = 0; i < ends.size(); ++i) {
    if (!has_slopes(ends[i])) continue;
    WeightGradientEnd end = ends[i];
    const int64_t count = end.gw.elements();
    queue.add({NormalisedWeight(end.weight), slopes + i, count, output<float>(end.gw)}, blocks_of_job(count, kPerBlock),
              end.gw.bytes() + end.weight.w.bytes(), end.gw.bytes());
  }
  queue.run();
}

}  // namespace

void launch_finish_weight_gradients(const std::vector<WeightGradientEnd>& ends) {
  const bool in_fours = std::ranges::all_of(ends, [](const WeightGradientEnd& end) {
    const Tensor& w = end.weight.w;
    return aligned_count(w.elements(), {&w, &end.weight.out.codes, &end.partial, &end.gw}) % 4 == 0;
  });
  Scratch<WeightSlopes> slopes(ends.size());
  with_pack(in_fours ? 4 : 1, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_quantizer_gradients<N>(ends, slopes.data());
    launch_norm_gradients<N>(ends, slopes.data());
  });
}

}  // namespace apotnet::cuda
