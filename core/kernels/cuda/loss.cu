#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/wide.h"

namespace apotnet::cuda {
namespace {

// A warp takes a row, and the last block adds up the rows' losses. A label outside the classes is trouble and counts as
// class 0.
__global__ void __launch_bounds__(kThreads)
    cross_entropy_kernel(int rows, int classes, const float* logits, const int32_t* labels, float smoothing,
                         float* row_losses, float* probabilities, float* loss, int* trouble, unsigned* ticket) {
  constexpr int kWarps = kThreads / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32;
  if (row < rows) {
    const float* own = logits + int64_t{row} * classes;
    float largest = own[0];
    for (int c = lane; c < classes; c += 32) largest = largest < own[c] ? own[c] : largest;
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(0xFFFFFFFFu, largest, step);
      largest = largest < other ? other : largest;
    }
    float sum = 0, mean = 0;
    for (int c = lane; c < classes; c += 32) {
      sum += expf(own[c] - largest);
      mean += own[c] / static_cast<float>(classes);
    }
    for (int step = 16; step > 0; step /= 2) {
      sum += __shfl_xor_sync(0xFFFFFFFFu, sum, step);
      mean += __shfl_xor_sync(0xFFFFFFFFu, mean, step);
    }
    const float log_sum = logf(sum);
    for (int c = lane; c < classes; c += 32)
      probabilities[int64_t{row} * classes + c] = expf(own[c] - largest - log_sum);
    if (lane == 0) {
      const bool known = labels[row] >= 0 && labels[row] < classes;
      if (!known) *trouble = 1;
      const float chosen = own[known ? labels[row] : 0];
      row_losses[row] = log_sum + (1 - smoothing) * (largest - chosen) + smoothing * (largest - mean);
    }
  }
  if (!last_block(ticket)) return;
  Wide total = {};
  for (int i = static_cast<int>(threadIdx.x); i < rows; i += kThreads) total.add(row_losses[i]);
  total = block_sum(total);
  if (threadIdx.x == 0) loss[0] = (total.value() / Wide{static_cast<float>(rows), 0}).high;
}

__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(int64_t count, int rows, int classes, const float* gloss, const float* probabilities,
                                  const int32_t* labels, float smoothing, float* glogits) {
  const float scale = gloss[0] / static_cast<float>(rows);
  for_each_index(count, [&](int64_t i) {
    const bool own = static_cast<int>(i % classes) == labels[i / classes];
    const float target = smoothing / static_cast<float>(classes) + (own ? 1 - smoothing : 0);
    glogits[i] = (probabilities[i] - target) * scale;
  });
}

}  // namespace

void CudaLoss::cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, Tensor& loss,
                             Tensor& probabilities) const {
  const auto rows = static_cast<int>(logits.size(0)), warps = kThreads / 32;
  Scratch<float> row_losses(static_cast<size_t>(rows));
  Context& context = Context::get();
  launch({"cross entropy", logits.bytes() + labels.bytes(), probabilities.bytes() + 4}, cross_entropy_kernel,
         static_cast<unsigned>((rows + warps - 1) / warps), rows, static_cast<int>(logits.size(1)),
         input<float>(logits), input<int32_t>(labels), static_cast<float>(smoothing), row_losses.data(),
         output<float>(probabilities), output<float>(loss), context.trouble(), context.ticket());
}

void CudaLoss::cross_entropy_backward(const Tensor& gloss, const Tensor& probabilities, const Tensor& labels,
                                      double smoothing, Tensor& glogits) const {
  launch({"cross entropy gradient", probabilities.bytes() + labels.bytes(), glogits.bytes()},
         cross_entropy_backward_kernel, blocks_for(glogits.elements()), glogits.elements(),
         static_cast<int>(probabilities.size(0)), static_cast<int>(probabilities.size(1)), input<float>(gloss),
         input<float>(probabilities), input<int32_t>(labels), static_cast<float>(smoothing), output<float>(glogits));
}

}  // namespace apotnet::cuda
