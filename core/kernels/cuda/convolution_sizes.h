#pragma once

#include "core/kernels/conv.h"

namespace apotnet::cuda {

/// The sizes of a convolution as kernels take them. A plan of one adds how its work is cut.
struct ConvolutionSizes {
  int images;
  int height, width, channels;
  int out_height, out_width, outputs;
  int kernel_height, kernel_width;
  int stride, padding;

  constexpr int taps() const { return kernel_height * kernel_width; }
};

/// Of x [N, H, W, C] and w [O, KH, KW, C], none of them beyond an int.
inline ConvolutionSizes sizes_of(const Shape& x, const Shape& w, const Conv2dGeometry& geometry) {
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  return {.images = narrow(x[0]),
          .height = narrow(x[1]),
          .width = narrow(x[2]),
          .channels = narrow(x[3]),
          .out_height = narrow(geometry.output_size(x[1], w[1])),
          .out_width = narrow(geometry.output_size(x[2], w[2])),
          .outputs = narrow(w[0]),
          .kernel_height = narrow(w[1]),
          .kernel_width = narrow(w[2]),
          .stride = narrow(geometry.stride),
          .padding = narrow(geometry.padding)};
}

}  // namespace apotnet::cuda
