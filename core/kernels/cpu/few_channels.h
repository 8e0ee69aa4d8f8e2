#pragma once

#include <cstdint>

namespace apotnet {

class Tensor;
struct Conv2dGeometry;

/// Whether few_channels_conv2d takes a convolution: at most 4 input channels, outputs in sixteens, groups 1.
bool fits_few_channels(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry);
/// conv2d (core/kernels/conv.h) image by image: the bits of an image do not depend on its batch.
void few_channels_conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y);

/// Neighbouring output pixels of a float convolution with few input channels (the first layer of a network), all
/// outputs. Plain data, as in codes/direct.h.
struct FewChannelsStrip {
  const float* input;    ///< first value of the first pixel's window, in an image with a frame of zeros
  int64_t pixel_stride;  ///< values from one pixel's window to the next
  int64_t row_stride;    ///< values from one row of a window to the next
  int64_t pixels;
  const float* weights;  ///< [outputs / 16][kernel_h][taps][16]
  int64_t output_blocks, kernel_h;
  int64_t taps;  ///< of a window row: kernel_w * channels neighbouring values
  float* y;      ///< [pixels][16 * output_blocks]
};

// Sixteen outputs of a few pixels at a time; a window row of NHWC is contiguous, so its taps are one loop. A sum runs
// over rows and taps in order, so an image's bits do not depend on its batch. The plain loop rounds products and sums,
// the others fuse them.
void generic_few_channels(const FewChannelsStrip& strip);
void avx2_few_channels(const FewChannelsStrip& strip);
void avx512_few_channels(const FewChannelsStrip& strip);

}  // namespace apotnet
