#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {
namespace {

// One parameter of a step; its blocks are first_block and on.
struct Item {
  const float* gradient;
  float *parameter, *velocity;
  int64_t count;
  float momentum, decay;
  int rate, first_block;
};

// As many as kernel arguments have room for.
constexpr int kMostItems = CUDART_VERSION >= 12010 ? 512 : 64;

struct Items {
  int count;
  Item items[kMostItems];
};

constexpr int64_t kPerBlock = 16 * kThreads;

// All parameters in one launch: a block finds its parameter by bisection.
__global__ void __launch_bounds__(kThreads) sgd_kernel(const __grid_constant__ Items all, const float* rates) {
  int below = 0, above = all.count - 1;
  while (below < above) {
    const int middle = (below + above + 1) / 2;
    if (all.items[middle].first_block <= static_cast<int>(blockIdx.x))
      below = middle;
    else
      above = middle - 1;
  }
  const Item& item = all.items[below];
  const float rate = rates[item.rate];
  const int64_t begin = (static_cast<int>(blockIdx.x) - item.first_block) * kPerBlock;
  const int64_t end = min(begin + kPerBlock, item.count);
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float p = item.parameter[i], v = item.momentum * item.velocity[i] + (item.gradient[i] + item.decay * p);
    item.velocity[i] = v;
    item.parameter[i] = p - rate * v;
  }
}

}  // namespace

void CudaUpdate::sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const {
  for (size_t first = 0; first < items.size(); first += kMostItems) {
    const size_t count = std::min<size_t>(items.size() - first, kMostItems);
    Items all{static_cast<int>(count), {}};
    int64_t blocks = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
      SgdItem item = items[first + i];
      all.items[i] = {input<float>(item.gradient),       output<float>(item.parameter),
                      output<float>(item.velocity),      item.gradient.elements(),
                      static_cast<float>(item.momentum), static_cast<float>(item.weight_decay),
                      static_cast<int>(item.group),      static_cast<int>(blocks)};
      blocks += (item.gradient.elements() + kPerBlock - 1) / kPerBlock;
      bytes += item.gradient.bytes();
    }
    launch({"sgd", 3 * bytes, 2 * bytes}, sgd_kernel, static_cast<unsigned>(blocks), all, input<float>(rates));
  }
}

void CudaUpdate::sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const {
  const Tensor rate = Tensor::full({1}, DType::f32, settings.learning_rate, kCuda);
  sgd_all({{gradient, parameter, velocity, settings.momentum, settings.weight_decay, 0}}, rate);
}

}  // namespace apotnet::cuda
