#pragma once

#include "core/kernels/cuda/step/image_layout.h"

// The products of an input gradient for a block that has a whole image: rows are input pixels, columns input channels,
// and the inner dimension runs over kernel positions and outputs. Kernels of 3 x 3 padded by 1, and of 1 x 1.

namespace apotnet::cuda {

/// bf16 gradients of outputs in shared memory, pixel by pixel. Units of 8 channels change places from pixel to pixel,
/// so that those of 8 pixels side by side lie in different banks.
template <int kOutputs>
struct Frame {
  static constexpr int kUnits = kOutputs / 8, kShift = kOutputs == 16 ? 2 : kOutputs == 32 ? 1 : 0;
  static constexpr int kPixelBytes = 2 * kOutputs;
  __device__ static int place_of(int pixel, int unit) {
    return pixel * kPixelBytes + ((unit ^ (pixel >> kShift & (kUnits - 1))) << 4);
  }
};
__host__ __device__ constexpr int frame_pixels(const ConvolutionSizes& sizes) {
  return (sizes.out_height + 2) * (sizes.out_width + 2);
}

/// Where weights begin in the pool: they are there while its first bytes add up the sums of all blocks.
__host__ __device__ constexpr int weights_place(const ConvolutionSizes& sizes) {
  const int frame = frame_pixels(sizes) * 2 * sizes.outputs, sums = kThreads * static_cast<int>(sizeof(Wide));
  return frame > sums ? frame : sums;
}

/// Weights as bf16 [tap, output, channels] in shared memory, so many taps at once; rows in different banks.
constexpr int taps_at_once(int outputs) { return outputs == 64 ? 3 : 9; }
constexpr int row_bytes(int channels) { return 2 * channels + 16; }

/// Zeros around the gradients.
template <int kOutputs>
__device__ void clear_border(const ConvolutionSizes& sizes, uint8_t* pool) {
  const int width = sizes.out_width + 2, height = sizes.out_height + 2;
  for (int pixel = static_cast<int>(threadIdx.x); pixel < width * height; pixel += kThreads) {
    const int row = pixel / width, column = pixel - row * width;
    if (row > 0 && row < height - 1 && column > 0 && column < width - 1) continue;
    for (int unit = 0; unit < Frame<kOutputs>::kUnits; ++unit)
      store(reinterpret_cast<Word*>(pool + Frame<kOutputs>::place_of(pixel, unit)), 0, Pack<Word, 4>{});
  }
}

/// Weights [O, KH, KW, C] of some taps, as WarpLayout places the channels that become columns.
template <int kOutputs, int kChannels>
__device__ void stage_frame_weights(const ConvolutionSizes& sizes, const int8_t* w, int first_tap, int taps,
                                    uint8_t* place) {
  constexpr int kSixteens = kChannels / 16;
#pragma unroll 1
  for (int n = static_cast<int>(threadIdx.x); n < taps * kOutputs * kSixteens; n += kThreads) {
    const int sixteen = n % kSixteens, row = n / kSixteens, tap = row / kOutputs, out = row % kOutputs;
    const int from = ((out * sizes.taps() + first_tap + tap) * kSixteens + sixteen) * 16;
    const Pack<Word, 4> own = load<4>(reinterpret_cast<const Word*>(w + from), 0);
    for (int pair = 0; pair < 8; ++pair) {
      const int column = WarpLayout<kChannels>::place_of(sixteen * 16 + 2 * pair);
      *reinterpret_cast<Word*>(place + row * row_bytes(kChannels) + 2 * column) =
          pair_of_codes(own[pair / 2] >> (pair % 2 * 16));
    }
  }
}

/// sums = products of the frame's gradients with all weights, of which those of the first taps are staged.
template <int kOutputs, int kChannels>
__device__ void multiply_frame(const ConvolutionSizes& sizes, const int8_t* w, uint8_t* pool, float (&sums)[16][4]) {
  using Layout = ImageLayout<kChannels>;
  const Layout warp;
  uint8_t* const weights = pool + weights_place(sizes);
  const int frame_width = sizes.out_width + 2;
  for (auto& row : sums)  // all of them, so that no register has to keep what is not used
    for (float& sum : row) sum = 0;
  // The pixel of each 16 whose row of the matrix the lane hands in (mma.h).
  int rows[Layout::kRows], columns[Layout::kRows];
  for (int r = 0; r < Layout::kRows; ++r) {
    int pixel = (warp.down * Layout::kRows + r) * 16 + warp.lane % 16;
    if (pixel >= sizes.height * sizes.width) pixel = 0;  // computed and thrown away
    rows[r] = pixel / sizes.width;
    columns[r] = pixel - rows[r] * sizes.width;
  }
  const uint8_t* const column =
      weights + warp.lane % 16 * row_bytes(kChannels) + (warp.across * Layout::kWarpOutputs + warp.lane / 16 * 8) * 2;
#pragma unroll 1
  for (int tap = 0; tap < sizes.taps(); ++tap) {
    const int staged = tap % taps_at_once(kOutputs);
    if (tap > 0 && staged == 0) {
      __syncthreads();
      stage_frame_weights<kOutputs, kChannels>(sizes, w, tap, min(taps_at_once(kOutputs), sizes.taps() - tap), weights);
      __syncthreads();
    }
    const int tap_row = tap / sizes.kernel_width, tap_column = tap - tap_row * sizes.kernel_width;
    int pixels[Layout::kRows];
    for (int r = 0; r < Layout::kRows; ++r) {
      const int row = rows[r] + sizes.padding - tap_row, across = columns[r] + sizes.padding - tap_column;
      const bool none = sizes.stride == 2 && ((row | across) & 1) != 0;
      const int shift = sizes.stride == 2 ? 1 : 0;
      pixels[r] = none ? 0 : ((row >> shift) + 1) * frame_width + (across >> shift) + 1;  // 0: one of zeros
    }
#pragma unroll
    for (int step = 0; step < kOutputs / 16; ++step) {
      Word b[Layout::kColumns / 2][4];
      for (int c = 0; c < Layout::kColumns / 2; ++c)
        load_transposed(b[c], reinterpret_cast<const BFloat16*>(
                                  column + (staged * kOutputs + step * 16) * row_bytes(kChannels) + c * 32));
      for (int r = 0; r < Layout::kRows; ++r) {
        Word a[4];
        load_matrices(a, pool + Frame<kOutputs>::place_of(pixels[r], 2 * step + warp.lane / 16));
        for (int c = 0; c < Layout::kColumns / 2; ++c) {
          multiply_bf16(sums[r * Layout::kColumns + 2 * c], a, {b[c][0], b[c][1]});
          multiply_bf16(sums[r * Layout::kColumns + 2 * c + 1], a, {b[c][2], b[c][3]});
        }
      }
    }
  }
}

}  // namespace apotnet::cuda
