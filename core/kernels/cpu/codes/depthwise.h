#pragma once

#include "core/kernels/cpu/codes/codes_conv.h"

namespace apotnet {

/// One row of depthwise sums (depthwise_body.h).
using DepthwiseRow = void (*)(const uint8_t* first, int64_t pixels, int64_t pixel_step, const int64_t* window,
                              int64_t window_size, const int16_t* weights, int64_t padded, int32_t* sums);

/// A convolution of each channel with its own weights; null for any other shape.
std::unique_ptr<CodesConv> make_depthwise_with(std::string_view name, Isa isa, DepthwiseRow row,
                                               const CodesConvShape& shape, const CodesConvOperands& operands);

}  // namespace apotnet
