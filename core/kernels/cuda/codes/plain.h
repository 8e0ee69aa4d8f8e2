#pragma once

#include "core/kernels/cuda/convolution_sizes.h"
#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {

/// A convolution of codes as one thread computes one sum of it, in plain 32-bit integers: any shape, groups, codes with
/// a sign or without.
template <typename Code>
struct PlainConvolution : ConvolutionSizes {
  const Code* x;
  const int8_t* w;
  int group_channels, group_outputs;

  PlainConvolution(const Tensor& codes, const Tensor& weights, const Conv2dGeometry& geometry)
      : ConvolutionSizes(sizes_of(codes.shape(), weights.shape(), geometry)),
        x(input<Code>(codes)),
        w(input<int8_t>(weights)),
        group_channels(static_cast<int>(weights.size(3))),
        group_outputs(static_cast<int>(weights.size(0) / geometry.groups)) {}

  /// Of output channel `out` at the pixel with this place in [N, OH, OW].
  __device__ int32_t sum(int64_t pixel, int out) const {
    const int column = static_cast<int>(pixel % out_width), row = static_cast<int>(pixel / out_width % out_height);
    const int64_t image = pixel / out_width / out_height;
    int32_t sum = 0;
    for (int kr = 0; kr < kernel_height; ++kr)
      for (int kc = 0; kc < kernel_width; ++kc) {
        const int y0 = row * stride + kr - padding, x0 = column * stride + kc - padding;
        if (y0 < 0 || y0 >= height || x0 < 0 || x0 >= width) continue;
        const Code* codes = x + ((image * height + y0) * width + x0) * channels + out / group_outputs * group_channels;
        const int8_t* weights = w + (int64_t{out * kernel_height + kr} * kernel_width + kc) * group_channels;
        for (int c = 0; c < group_channels; ++c) sum += int32_t{codes[c]} * weights[c];
      }
    return sum;
  }
};

}  // namespace apotnet::cuda
