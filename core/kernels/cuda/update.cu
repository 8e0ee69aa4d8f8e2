#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
    sgd_kernel(int64_t count, const float* g, float rate, float momentum, float decay, float* p, float* v) {
  for_each_index(count, [&](int64_t i) {
    v[i] = momentum * v[i] + (g[i] + decay * p[i]);
    p[i] -= rate * v[i];
  });
}

}  // namespace

void CudaUpdate::sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const {
  launch({"sgd", 3 * gradient.bytes(), 2 * gradient.bytes()}, sgd_kernel, blocks_for(parameter.elements()),
         parameter.elements(), input<float>(gradient), static_cast<float>(settings.learning_rate),
         static_cast<float>(settings.momentum), static_cast<float>(settings.weight_decay), output<float>(parameter),
         output<float>(velocity));
}

}  // namespace apotnet::cuda
