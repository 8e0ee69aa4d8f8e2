#pragma once

#include "core/kernels/cuda/wide.h"

namespace apotnet::cuda {

/// Running statistics on the device: running += momentum * (batch - running), the batch's variance of `count` elements
/// made unbiased first (norm.h).
struct RunningArrays {
  float *mean, *variance;
  Wide kept, added, added_variance;

  RunningArrays(int64_t count, double momentum, Tensor& running_mean, Tensor& running_variance)
      : mean(output<float>(running_mean)),
        variance(output<float>(running_variance)),
        kept(Wide::of(1 - momentum)),
        added(Wide::of(momentum)),
        added_variance(
            Wide::of(momentum * (static_cast<double>(count) / static_cast<double>(std::max<int64_t>(count - 1, 1))))) {}
  static RunningArrays none() { return RunningArrays(); }

  __device__ bool defined() const { return mean != nullptr; }
  __device__ void update(int64_t c, float batch_mean, float batch_variance) const {
    mean[c] = (kept * Wide{mean[c], 0} + added * Wide{batch_mean, 0}).high;
    variance[c] = (kept * Wide{variance[c], 0} + added_variance * Wide{batch_variance, 0}).high;
  }

 private:
  RunningArrays() : mean(nullptr), variance(nullptr), kept{}, added{}, added_variance{} {}
};

}  // namespace apotnet::cuda
