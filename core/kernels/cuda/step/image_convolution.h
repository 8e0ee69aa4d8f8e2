#pragma once

#include "core/kernels/cuda/convolution_sizes.h"
#include "core/kernels/cuda/launch.h"

// The first convolution of a network (ImageConvolution, step_kernels.h) by a block that has a whole image in shared
// memory: as chains compute it, forward and once more backward. Products and sums are float32, in the order of the
// kernel's positions and channels, which are a term each.

namespace apotnet::cuda {

inline constexpr int kImageOutputs = 16, kImageTerms = 32;  // the latter at most
/// Floats in shared memory: weights [term, output], and the image in a border of zeros [pixel, channel].
inline constexpr int kImageWeights = kImageTerms * kImageOutputs, kImageBox = 5632;

__host__ __device__ constexpr int image_terms(const ConvolutionSizes& sizes) { return sizes.taps() * sizes.channels; }
__host__ __device__ constexpr int image_box_width(const ConvolutionSizes& sizes) {
  return sizes.width + 2 * sizes.padding;
}

/// Fills both; a barrier must follow.
__device__ inline void stage_image(const ConvolutionSizes& sizes, const float* x, const float* w, int image,
                                   float* weights, float* box) {
  const int thread = static_cast<int>(threadIdx.x), terms = image_terms(sizes);
  for (int n = thread; n < terms * kImageOutputs; n += kThreads)
    weights[n] = w[n % kImageOutputs * terms + n / kImageOutputs];
  const int line = image_box_width(sizes) * sizes.channels, height = sizes.height + 2 * sizes.padding;
  x += int64_t{image} * sizes.height * sizes.width * sizes.channels;
  for (int n = thread; n < height * line; n += kThreads) {
    const int row = n / line - sizes.padding, place = n % line - sizes.padding * sizes.channels;
    const bool inside = row >= 0 && row < sizes.height && place >= 0 && place < sizes.width * sizes.channels;
    box[n] = inside ? x[row * sizes.width * sizes.channels + place] : 0.0f;
  }
}

/// Four outputs of a pixel, whose weights begin at `weights`.
__device__ inline Pack<float, 4> image_product(const ConvolutionSizes& sizes, const float* weights, const float* box,
                                               int row, int column) {
  const int width = image_box_width(sizes), in_row = sizes.kernel_width * sizes.channels;
  const float* from = box + (row * width + column) * sizes.channels;
  Pack<float, 4> sums{};
#pragma unroll 1
  for (int tap_row = 0; tap_row < sizes.kernel_height; ++tap_row) {
#pragma unroll 1
    for (int i = 0; i < in_row; ++i) {
      const Pack<float, 4> own = load<4>(weights, 0);
      for (int j = 0; j < 4; ++j) sums[j] = fmaf(from[i], own[j], sums[j]);
      weights += kImageOutputs;
    }
    from += width * sizes.channels;
  }
  return sums;
}

}  // namespace apotnet::cuda
