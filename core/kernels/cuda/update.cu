#include "core/kernels/cuda/jobs.h"
#include "core/kernels/cuda/kernels.h"

namespace apotnet::cuda {
namespace {

// One parameter of a step.
struct SgdJob {
  const float* gradient;
  float *parameter, *velocity, *squares;  // squares: null where nobody asked
  int64_t count;
  float momentum, decay;
  int rate;
};

constexpr int64_t kPerBlock = 16 * kThreads;

__global__ void __launch_bounds__(kThreads) sgd_kernel(const __grid_constant__ Jobs<SgdJob> all, const float* rates) {
  const JobPlace place = all.place();
  const SgdJob& job = all.jobs[place.job];
  const float rate = rates[job.rate];
  for_each_of_block<1, kPerBlock>(place.block, job.count, [&](int64_t i) {
    const float g = job.gradient[i], p = job.parameter[i], v = job.momentum * job.velocity[i] + (g + job.decay * p);
    job.velocity[i] = v;
    job.parameter[i] = p - rate * v;
    if (job.squares) job.squares[i] += g * g;
  });
}

}  // namespace

void CudaUpdate::sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const {
  JobQueue<SgdJob> queue("sgd", [&](const Node& node, unsigned blocks, const Jobs<SgdJob>& jobs) {
    launch(node, sgd_kernel, blocks, jobs, input<float>(rates));
  });
  for (SgdItem item : items) {
    const SgdJob job{input<float>(item.gradient),
                     output<float>(item.parameter),
                     output<float>(item.velocity),
                     item.squares.defined() ? output<float>(item.squares) : nullptr,
                     item.gradient.elements(),
                     static_cast<float>(item.momentum),
                     static_cast<float>(item.weight_decay),
                     static_cast<int>(item.group)};
    const size_t tensors = item.squares.defined() ? 3 : 2;
    queue.add(job, blocks_of_job(job.count, kPerBlock), (tensors + 1) * item.gradient.bytes(),
              tensors * item.gradient.bytes());
  }
  queue.run();
}

void CudaUpdate::sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const {
  const Tensor rate = Tensor::full({1}, DType::f32, settings.learning_rate, kCuda);
  sgd_all({{gradient, parameter, velocity, settings.momentum, settings.weight_decay}}, rate);
}

}  // namespace apotnet::cuda
