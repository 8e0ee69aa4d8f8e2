#include "core/kernels/cuda/jobs.h"
#include "core/kernels/cuda/levels.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "core/kernels/cuda/weight_terms.h"

namespace apotnet::cuda {
namespace {

constexpr int64_t kPerBlock = 8 * kThreads;

struct MomentsJob {
  const float* w;
  int64_t count;
  Wide wide_count;
  float *mean, *std;
};

// F3, mean and std.
template <int N>
__global__ void __launch_bounds__(kThreads)
    moments_kernel(const __grid_constant__ Jobs<MomentsJob> all, Wide* partial, unsigned* tickets, int* trouble) {
  const JobPlace place = all.place();
  const MomentsJob& job = all.jobs[place.job];
  Wide sums[2] = {};  // of w, of its squares
  for_each_of_block<N, kPerBlock>(place.block, job.count, [&](int64_t i) {
    const Pack<float, N> ws = load<N>(job.w, i);
    for (int j = 0; j < N; ++j) {
      sums[0].add(ws[j]);
      sums[1].add_product(ws[j], ws[j]);
    }
  });
  if (job_sums(sums, place, partial, tickets) && threadIdx.x == 0)
    store_moments(sums[0], sums[1], job.wide_count, job.mean, job.std, trouble);
}

// A level set of 8-bit signed codes: K is at most 127, so the codes of all half steps fit a job.
struct SmallLevels {
  static constexpr int kSize = 256;
  int32_t k;
  bool ties_to_lower;
  uint8_t table[kSize];

  explicit SmallLevels(const LevelSet& levels)
      : k(static_cast<int32_t>(levels.k())), ties_to_lower(levels.ties_to_lower()), table{} {
    require(levels.fits_s8(), "a level set too large for 8-bit codes");
    for (int i = 0; i <= 2 * k; ++i)
      table[i] = static_cast<uint8_t>(levels.code_of_half_step(half_step_at(i, k, ties_to_lower)));
  }
  SmallLevels() = default;
};

struct CodesJob {
  const float *w, *mean, *std;  // mean is null where w is taken as it stands
  const float* alpha;
  int8_t* codes;
  float* step;
  int64_t count;
  SmallLevels levels;
};

// F5, behind F3.
template <int N>
__global__ void __launch_bounds__(kThreads) codes_kernel(const __grid_constant__ Jobs<CodesJob> all, int* trouble) {
  SHARED_ARRAY(uint8_t, table, SmallLevels::kSize);
  const JobPlace place = all.place();
  const CodesJob& job = all.jobs[place.job];
  for (int m = static_cast<int>(threadIdx.x); m < SmallLevels::kSize; m += kThreads) table[m] = job.levels.table[m];
  const bool normalises = job.mean != nullptr;
  const float a = job.alpha[0], mean = normalises ? job.mean[0] : 0, std = normalises ? job.std[0] : 1;
  if (place.block == 0 && threadIdx.x == 0) store_step(a, static_cast<float>(job.levels.k), job.step, trouble);
  __syncthreads();
  for_each_of_block<N, kPerBlock>(place.block, job.count, [&](int64_t i) {
    const Pack<float, N> ws = load<N>(job.w, i);
    Pack<int8_t, N> codes;
    for (int j = 0; j < N; ++j) {
      const float w_hat = normalises ? (ws[j] - mean) / std : ws[j];
      codes[j] = project_signed<int8_t>(w_hat / a, job.levels, table);
    }
    store(job.codes, i, codes);
  });
}

template <int N>
void launch_moments(const std::vector<WeightToQuantize>& weights) {
  JobQueue<MomentsJob> queue("weight moments", [](const Node& node, unsigned blocks, const Jobs<MomentsJob>& jobs) {
    Context& context = Context::get();
    Scratch<Wide> partial(2 * size_t{blocks});
    launch(node, moments_kernel<N>, blocks, jobs, partial.data(), context.tickets(), context.trouble());
  });
  for (WeightToQuantize weight : weights) {
    if (!weight.normalises) continue;
    const int64_t count = weight.w.elements();
    queue.add({input<float>(weight.w), count, Wide::of(static_cast<double>(count)), output<float>(weight.mean),
               output<float>(weight.std)},
              blocks_of_job(count, kPerBlock), weight.w.bytes(), 2 * sizeof(float));
  }
  queue.run();
}

template <int N>
void launch_codes(const std::vector<WeightToQuantize>& weights) {
  JobQueue<CodesJob> queue("quantize weights", [](const Node& node, unsigned blocks, const Jobs<CodesJob>& jobs) {
    launch(node, codes_kernel<N>, blocks, jobs, Context::get().trouble());
  });
  for (WeightToQuantize weight : weights) {
    const int64_t count = weight.w.elements();
    queue.add(
        {input<float>(weight.w), weight.normalises ? input<float>(weight.mean) : nullptr,
         weight.normalises ? input<float>(weight.std) : nullptr, input<float>(weight.alpha),
         output<int8_t>(weight.out.codes), output<float>(weight.out.step), count, SmallLevels(*weight.out.levels)},
        blocks_of_job(count, kPerBlock), weight.w.bytes(), weight.out.codes.bytes());
  }
  queue.run();
}

}  // namespace

void launch_quantize_weights(const std::vector<WeightToQuantize>& weights) {
  const bool in_fours = std::ranges::all_of(weights, [](const WeightToQuantize& weight) {
    return aligned_count(weight.w.elements(), {&weight.w, &weight.out.codes}) % 4 == 0;
  });
  with_pack(in_fours ? 4 : 1, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_moments<N>(weights);
    launch_codes<N>(weights);
  });
}

}  // namespace apotnet::cuda
