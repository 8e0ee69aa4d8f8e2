#pragma once

#include "core/kernels/cuda/step/image_convolution.h"
#include "core/kernels/cuda/step/image_layout.h"
#include "core/kernels/cuda/step/stored_gradient.h"

// The gradient of the first convolution's weights by a block that has a whole image: the end of a gradient chain.

namespace apotnet::cuda {

/// ImageConvolution on the device: its output is computed again, and the gradient of its weights.
struct ImageGradient {
  ConvolutionSizes sizes;
  const float *x, *w;  // null: no such thing
  float* gw;
  float* partial;  // [blocks, outputs, kImageTerms]

  ImageGradient(ImageConvolution& image, float* partial_sums)
      : sizes(sizes_of(image.x.shape(), image.w.shape(), image.geometry)),
        x(input<float>(image.x)),
        w(input<float>(image.w)),
        gw(output<float>(image.gw)),
        partial(partial_sums) {}
  static ImageGradient none() { return ImageGradient(); }

 private:
  ImageGradient() : sizes{}, x(nullptr), w(nullptr), gw(nullptr), partial(nullptr) {}
};

/// The gradient of the image's weights, as far as the block goes by itself, from what its lanes have: the gradient g of
/// the batch norm's output, and the batch norm's input. `coefficients` are NormInputGradient's [3, pitch]; `room` is
/// for a pixel's gradients of each thread, `box` stage_image()'s.
__device__ inline void weigh_image(const ImageGradient& image, const float* coefficients, int pitch, float* room,
                                   const float* box, Word (&g)[32], float (&inputs)[16][4]) {
  using Layout = ImageLayout<kImageOutputs>;
  constexpr int N = Layout::kLaneOutputs, kPacks = 2 * Layout::kRows, kAtOnce = 4, kPixels = 8 * kAtOnce;
  using Quad = Pack<float, N>;
  const Layout warp;
  const ConvolutionSizes& sizes = image.sizes;
  const int channel = warp.first_output(), pixels = sizes.height * sizes.width, thread = static_cast<int>(threadIdx.x);
  const Quad factor = load<N>(coefficients, channel), slope = load<N>(coefficients + pitch, channel),
             constant = load<N>(coefficients + 2 * pitch, channel);
  Quad* const own = reinterpret_cast<Quad*>(room) + warp.down * kPixels * kImageOutputs / N;  // [pixel, quad]
  // A lane has one term of each output.
  const int terms = image_terms(sizes), in_row = sizes.kernel_width * sizes.channels,
            line = image_box_width(sizes) * sizes.channels, term = warp.lane < terms ? warp.lane : 0;
  const float* const values = box + term / in_row * line + term % in_row;
  float sums[kImageOutputs] = {};
#pragma unroll 1
  for (int turn = 0; turn < kPacks / kAtOnce; ++turn) {
    const int first = warp.down * kPacks * 8 + turn * kPixels;
    for (int i = 0; i < kAtOnce; ++i) {
      const Quad own_g = widened<N>(words_of<N>(g, i));
      Quad dy;
      for (int j = 0; j < N; ++j)
        dy[j] = norm_input_gradient(own_g[j], inputs[i / 2 * Layout::kColumns + j / 2][i % 2 * 2 + j % 2], factor[j],
                                    slope[j], constant[j]);
      own[(warp.lane / 4 + 8 * i) * (kImageOutputs / N) + warp.lane % 4] = dy;
    }
    __syncwarp();
    int row = first / sizes.width, column = first - row * sizes.width;
#pragma unroll 2
    for (int pixel = 0; pixel < kPixels && first + pixel < pixels; ++pixel) {
      const float value = values[row * line + column * sizes.channels];
      for (int q = 0; q < kImageOutputs / N; ++q) {
        const Quad dy = own[pixel * (kImageOutputs / N) + q];
        for (int j = 0; j < N; ++j) sums[q * N + j] = fmaf(dy[j], value, sums[q * N + j]);
      }
      if (++column == sizes.width) column = 0, ++row;
    }
    __syncwarp();
    move_on<kAtOnce * N / 2, 32>(g);
    move_on<kAtOnce * N / 4, 16>(inputs);
  }
  __syncthreads();  // the image and the gradients have been read
  for (int j = 0; j < kImageOutputs; ++j) room[(warp.down * kImageOutputs + j) * kImageTerms + warp.lane] = sums[j];
  __syncthreads();
  for (int n = thread; n < kImageOutputs * kImageTerms; n += kThreads) {
    float total = 0;
    for (int i = 0; i < Layout::kDown; ++i) total += room[i * kImageOutputs * kImageTerms + n];
    image.partial[static_cast<int>(blockIdx.x) * kImageOutputs * kImageTerms + n] = total;
  }
}
/// What all blocks have left.
__device__ inline void finish_image(const ImageGradient& image) {
  const int terms = image_terms(image.sizes), blocks = static_cast<int>(gridDim.x);
  for (int n = static_cast<int>(threadIdx.x); n < kImageOutputs * kImageTerms; n += kThreads) {
    float total = 0;
#pragma unroll 8
    for (int i = 0; i < blocks; ++i) total += image.partial[i * kImageOutputs * kImageTerms + n];
    const int output = n / kImageTerms, term = n % kImageTerms;
    if (term < terms) image.gw[output * terms + term] = total;
  }
}

}  // namespace apotnet::cuda
