#pragma once

#include "core/kernels/cuda/step/value_gradient.h"

// The parts of the kernel of launch_input_gradient. A block goes through tiles of input pixels; for each it stages the
// part of dy that its kernel windows reach ("halo") and the weights in shared memory, chunk by chunk of dy's channels,
// and multiplies on tensor cores: rows are pixels, columns input channels, the inner dimension is (tap, dy's channel).

namespace apotnet::cuda {

/// Shared memory for what is staged, in words.
inline constexpr int kStageWords = 11520;

/// Shapes, and how the work is cut: by the shapes alone.
struct InputGradientPlan {
  int height, width, channels;              // of the input
  int out_height, out_width, out_channels;  // of dy
  int kernel_height, kernel_width, taps, stride, padding;
  int tile_height, log_tile_width, tile_width, tiles_down, tiles_across, tiles;
  int halo_height, halo_width;
  int chunk;          // channels of dy staged at once
  int pitch;          // words of a staged pixel: eight neighbours lie in different banks
  int taps_at_once;   // whose weights are staged at once
  int weight_place;   // the word where they begin
  bool weights_stay;  // all are staged before a block's first tile
};

/// A tile: its image and first pixel, the first staged pixel of dy, and the distance between the two in pixels of the
/// input.
struct InputTile {
  int image, top, left, out_top, out_left, reach_down, reach_right;

  __device__ static InputTile of(const InputGradientPlan& plan, int number) {
    const int across = number % plan.tiles_across, rest = number / plan.tiles_across;
    InputTile tile{};
    tile.image = rest / plan.tiles_down;
    tile.top = rest % plan.tiles_down * plan.tile_height;
    tile.left = across * plan.tile_width;
    tile.out_top = first_output(tile.top + plan.padding - (plan.kernel_height - 1), plan.stride);
    tile.out_left = first_output(tile.left + plan.padding - (plan.kernel_width - 1), plan.stride);
    tile.reach_down = tile.top + plan.padding - tile.out_top * plan.stride;
    tile.reach_right = tile.left + plan.padding - tile.out_left * plan.stride;
    return tile;
  }

 private:
  // position / stride rounded up.
  __device__ static int first_output(int position, int stride) {
    return (position > 0 ? position + stride - 1 : position) / stride;
  }
};

struct TilePixel {
  int row, column;
};

/// Pixel `p` of a tile. With stride 2 those of equal parities come one after the other, so that each tap reaches all
/// pixels of a warp or none.
template <int kPixels>
__device__ TilePixel pixel_of(const InputGradientPlan& plan, int p) {
  if (plan.stride != 2) return {p >> plan.log_tile_width, p & (plan.tile_width - 1)};
  const int parities = p / (kPixels / 4), rest = p % (kPixels / 4), log_across = plan.log_tile_width - 1;
  return {(rest >> log_across) * 2 + parities / 2, (rest & ((1 << log_across) - 1)) * 2 + parities % 2};
}

/// The staged pixel of dy that a tap brings to a pixel of the tile; the one of zeros behind the halo where there is
/// none.
__device__ inline int staged_pixel(const InputGradientPlan& plan, const InputTile& tile, TilePixel pixel, int tap_row,
                                   int tap_column) {
  int row = pixel.row + tile.reach_down - tap_row, column = pixel.column + tile.reach_right - tap_column;
  if (plan.stride == 2) {
    if (((row | column) & 1) != 0) return plan.halo_height * plan.halo_width;
    row /= 2;
    column /= 2;
  } else if (plan.stride != 1) {
    if (row % plan.stride != 0 || column % plan.stride != 0) return plan.halo_height * plan.halo_width;
    row /= plan.stride;
    column /= plan.stride;
  }
  return row * plan.halo_width + column;
}

/// ConvolutionOutputGradient on the device.
struct OutputGradientArrays {
  const BFloat16* g;  // null: dy is stored
  OperandArrays x;
  const ChannelGradient* coefficients;
  BFloat16* stored;  // read or, where dy is computed, written; then it may be null

  explicit OutputGradientArrays(const ConvolutionOutputGradient& gy)
      : g(gy.computed ? input<BFloat16>(gy.computed->g) : nullptr),
        x(gy.computed ? OperandArrays(gy.computed->x) : OperandArrays::none()),
        coefficients(gy.computed ? reinterpret_cast<const ChannelGradient*>(input<float>(gy.computed->coefficients))
                                 : nullptr),
        stored(gy.stored.defined() ? const_cast<BFloat16*>(input<BFloat16>(gy.stored)) : nullptr) {}
};

/// A computed dy's coefficients in shared memory: [3, kFusedChannels].
using CoefficientQuad = Pack<float, 4>;
inline constexpr int kCoefficientQuads = 3 * static_cast<int>(kFusedChannels) / 4;

__device__ inline void prepare_coefficients(const OutputGradientArrays& gy, int count, float* coefficients) {
  if (!gy.g) return;
  for (int c = static_cast<int>(threadIdx.x); c < count; c += kThreads) {
    const ChannelGradient own = gy.coefficients[c];
    coefficients[c] = own.factor;
    coefficients[kFusedChannels + c] = own.slope;
    coefficients[2 * kFusedChannels + c] = own.constant;
  }
}

/// Eight channels of dy from element i on, the first of them channel c, rounded to bf16.
__device__ inline Pack<BFloat16, 8> output_gradient(const OutputGradientArrays& gy, const float* coefficients,
                                                    float step, int64_t i, int c) {
  if (!gy.g) return load<8>(gy.stored, i);
  const Pack<BFloat16, 8> gs = load<8>(gy.g, i);
  const Pack<float, 8> xs = gy.x.raw<8>(i, step);
  Pack<BFloat16, 8> result;
  for (int half = 0; half < 8; half += 4) {
    const CoefficientQuad factor = load<4>(coefficients, c + half),
                          slope = load<4>(coefficients + kFusedChannels, c + half),
                          constant = load<4>(coefficients + 2 * kFusedChannels, c + half);
    for (int j = 0; j < 4; ++j)
      result[half + j] =
          bf16_of(norm_input_gradient(float_of(gs[half + j]), xs[half + j], factor[j], slope[j], constant[j]));
  }
  return result;
}

/// Whether output position `out` of dy is this tile's to store: the tile with the middle of its window, so far as that
/// lies in the image, stores it.
__device__ inline bool is_own(int out, int stride, int padding, int kernel, int size, int begin, int count) {
  const int middle = min(max(out * stride - padding + (kernel - 1) / 2, 0), size - 1);
  return middle >= begin && middle < begin + count;
}

/// Stages `count` channels of dy from `first` on, [halo pixels and one of zeros, pitch]; stores what is computed.
__device__ inline void stage_gradient(const InputGradientPlan& plan, const InputTile& tile,
                                      const OutputGradientArrays& gy, const float* coefficients, int first, int count,
                                      Word* stage) {
  const int packs = count / 8, pixels = plan.halo_height * plan.halo_width;
  const bool stores = gy.g && gy.stored && blockIdx.y == 0;
  const float step = gy.x.step();
  auto* const staged = reinterpret_cast<BFloat16*>(stage);
  for (int n = static_cast<int>(threadIdx.x); n < (pixels + 1) * packs; n += kThreads) {
    const int pixel = n / packs, c = n % packs * 8;
    const int row = tile.out_top + pixel / plan.halo_width, column = tile.out_left + pixel % plan.halo_width;
    Pack<BFloat16, 8> pack = {};
    if (pixel < pixels && row >= 0 && row < plan.out_height && column >= 0 && column < plan.out_width) {
      const int64_t place = (int64_t{tile.image} * plan.out_height + row) * plan.out_width + column;
      const int64_t i = place * plan.out_channels + first + c;
      pack = output_gradient(gy, coefficients, step, i, first + c);
      if (stores &&
          is_own(row, plan.stride, plan.padding, plan.kernel_height, plan.height, tile.top, plan.tile_height) &&
          is_own(column, plan.stride, plan.padding, plan.kernel_width, plan.width, tile.left, plan.tile_width))
        store(gy.stored, i, pack);
    }
    store(staged, int64_t{pixel} * plan.pitch * 2 + c, pack);
  }
}

/// A code as float, exactly: cheaper than a conversion, which runs at a fraction of the rate of other instructions.
__device__ inline float float_of_code(int8_t code) {
  constexpr float kBias = 8388608 + 128;
  return float_of(0x4B000000u | (static_cast<uint8_t>(code) ^ 0x80u)) - kBias;
}
__device__ inline Word pair_of_codes(int8_t first, int8_t second) {
  return bits_of(float_of_code(first)) >> 16 | (bits_of(float_of_code(second)) & 0xFFFF0000u);
}

using Quad = Pack<Word, 4>;

/// Stages weights as bf16 for the taps and the channels of dy named, in the order in which lanes read them: quad
/// [tap, step of 16 channels, pair of column tiles, lane] holds the lane's fragment b of both column tiles.
template <int kColumns>
__device__ void stage_weights(const InputGradientPlan& plan, const int8_t* codes, int first_tap, int taps, int first,
                              int count, Word* stage) {
  const int steps = count / 16, column_begin = static_cast<int>(blockIdx.y) * kColumns;
  for (int n = static_cast<int>(threadIdx.x); n < taps * steps * kColumns; n += kThreads) {
    const int pair = n % 4, half = n / 4 % 2, tile = n / 8 % (kColumns / 8), rest = n / kColumns;  // tap, step
    const int out = first + rest % steps * 16 + half * 8 + pair * 2, tap = first_tap + rest / steps;
    const int column = column_begin + tile * 8;
    Pack<int8_t, 8> low = {}, high = {};
    if (column < plan.channels) {
      low = load<8>(codes, (int64_t{out} * plan.taps + tap) * plan.channels + column);
      high = load<8>(codes, (int64_t{out + 1} * plan.taps + tap) * plan.channels + column);
    }
    Word* const place = stage + (rest * (kColumns / 16) + tile / 2) * 128 + pair * 4 + tile % 2 * 2 + half;
    for (int j = 0; j < 8; ++j) place[16 * j] = pair_of_codes(low[j], high[j]);
  }
}

/// How the eight warps of a block share a tile: each has 16 pixels and kTiles times 8 columns.
template <int kPixels, int kColumns>
struct WarpShare {
  static constexpr int kDown = kPixels / 16, kAcross = kThreads / 32 / kDown, kTiles = kColumns / 8 / kAcross;
  int down, across, row, pair;  // of the lane: mma.h

  __device__ WarpShare()
      : down(static_cast<int>(threadIdx.x) / 32 % kDown),
        across(static_cast<int>(threadIdx.x) / 32 / kDown),
        row(static_cast<int>(threadIdx.x) % 32 / 4),
        pair(static_cast<int>(threadIdx.x) % 4) {}
};

/// Adds the products of the staged taps and channels.
template <int kPixels, int kColumns>
__device__ void multiply_taps(const InputGradientPlan& plan, const InputTile& tile, int first_tap, int taps, int count,
                              const Word* stage, const Word* weights,
                              float (&sums)[WarpShare<kPixels, kColumns>::kTiles][4]) {
  constexpr int kTiles = WarpShare<kPixels, kColumns>::kTiles, kPairs = kColumns / 16;
  const WarpShare<kPixels, kColumns> share;
  const TilePixel upper = pixel_of<kPixels>(plan, share.down * 16 + share.row),
                  lower = pixel_of<kPixels>(plan, share.down * 16 + share.row + 8);
  const auto* quads =
      reinterpret_cast<const Quad*>(weights) + share.across * (kTiles / 2) * 32 + static_cast<int>(threadIdx.x) % 32;
  const int steps = count / 16, first_row = first_tap / plan.kernel_width;
  int tap_row = first_row, tap_column = first_tap - first_row * plan.kernel_width;
  const auto next_tap = [&] {
    quads += steps * kPairs * 32;
    if (++tap_column == plan.kernel_width) ++tap_row, tap_column = 0;
  };
  for (int t = 0; t < taps; ++t, next_tap()) {
    const int above = staged_pixel(plan, tile, upper, tap_row, tap_column),
              below = staged_pixel(plan, tile, lower, tap_row, tap_column);
    if (plan.stride == 2 && above == plan.halo_height * plan.halo_width) continue;  // the same in the whole warp
    const Word *as = stage + above * plan.pitch + share.pair, *bs = stage + below * plan.pitch + share.pair;
    for (int step = 0; step < steps; ++step) {
      const Word a[4] = {as[8 * step], bs[8 * step], as[8 * step + 4], bs[8 * step + 4]};
      for (int j = 0; j < kTiles / 2; ++j) {
        const Quad quad = quads[(step * kPairs + j) * 32];
        multiply_bf16(sums[2 * j], a, {quad[0], quad[1]});
        multiply_bf16(sums[2 * j + 1], a, {quad[2], quad[3]});
      }
    }
  }
}

}  // namespace apotnet::cuda
