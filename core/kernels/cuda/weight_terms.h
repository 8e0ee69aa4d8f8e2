#pragma once

#include "core/kernels/cuda/wide.h"

// The normalisation of weights (F3) and its gradient (F4), as far as they are one number for a weight.

namespace apotnet::cuda {

/// From the sums of w and of its squares; weights without deviation are trouble.
__device__ inline void store_moments(const Wide& sum, const Wide& squares, const Wide& count, float* mean, float* std,
                                     int* trouble) {
  const Wide m = sum / count, variance = (squares - m * sum) / (count - Wide{1, 0});
  mean[0] = m.high;
  std[0] = variance.high < 0 ? 0.0f : square_root(variance).high;
  if (!(std[0] > 0) || isinf(std[0])) *trouble = 1;
}

/// What mean and std contribute to the gradient where they are no constants.
struct WeightSlopes {
  Wide mean, slope;  // of g; by w_hat

  __device__ static WeightSlopes of(const Wide& sum_g, const Wide& sum_gw, const Wide& count) {
    return {sum_g / count, sum_gw / (count - Wide{1, 0})};
  }
  __device__ float gradient(float g, float w_hat, float std) const {
    return ((Wide{g, 0} - mean - Wide{w_hat, 0} * slope) / Wide{std, 0}).high;
  }
};

}  // namespace apotnet::cuda
