#pragma once

#include "core/kernels/cuda/step/sum_statistics.h"
#include "core/kernels/cuda/step/tile_plan.h"
#include "core/kernels/cuda/step/value.h"

// What a block does for its tile of a convolution of codes (tile_plan.h), as a product of matrices: rows are output
// pixels, columns output channels, and the inner dimension runs over units, 16 channels of one kernel position each.
// One step of the tensor cores takes two units.

namespace apotnet::cuda {

/// A block's tile: where it lies in the output, and the input pixels that it reads.
struct Tile {
  int image, out_row, out_column;
  int row, column;  // of the box's first pixel in the image; may be negative
  // Of the input, each tile is in charge of a part that begins at `row`, `column` (every pixel lies in one) up to here.
  int end_row, end_column;

  __device__ static Tile of(const TilePlan& plan) {
    const int index = static_cast<int>(blockIdx.x), across = index % plan.tiles_across,
              down = index / plan.tiles_across % plan.tiles_down;
    Tile tile{};
    tile.image = index / plan.tiles_across / plan.tiles_down;
    tile.out_row = down * plan.tile_height;
    tile.out_column = across * plan.tile_width;
    tile.row = tile.out_row * plan.stride - plan.padding;
    tile.column = tile.out_column * plan.stride - plan.padding;
    const bool lowest = down == plan.tiles_down - 1, rightmost = across == plan.tiles_across - 1;
    tile.end_row = lowest ? plan.height : min(plan.height, tile.row + plan.tile_height * plan.stride);
    tile.end_column = rightmost ? plan.width : min(plan.width, tile.column + plan.tile_width * plan.stride);
    return tile;
  }
};

/// How the 8 warps of a block share its outputs, and which of them a lane ends up with: kLaneOutputs channels side by
/// side of each of two pixels (rows of the matrix) in 16.
template <int kOutputs>
struct WarpLayout {
  static constexpr int kAcross = kOutputs <= 32 ? 1 : kOutputs / 32, kDown = kThreads / 32 / kAcross;
  static constexpr int kWarpOutputs = kOutputs / kAcross, kColumns = kWarpOutputs / 8;  // 8 columns in each
  static constexpr int kLaneOutputs = 2 * kColumns;
  static constexpr int capacity(int rows) { return kDown * 16 * rows; }

  int lane, down, across;
  __device__ WarpLayout()
      : lane(static_cast<int>(threadIdx.x) % 32),
        down(static_cast<int>(threadIdx.x) / 32 / kAcross),
        across(static_cast<int>(threadIdx.x) / 32 % kAcross) {}

  /// The lane's first channel in the block.
  __device__ int first_output() const { return across * kWarpOutputs + lane % 4 * kLaneOutputs; }
  /// Where the weights of a channel of the block lie: a lane's columns in several matrices are made neighbours.
  __device__ static int place_of(int output) {
    const int in_warp = output % kWarpOutputs, pair = in_warp / kLaneOutputs, matrix = in_warp % kLaneOutputs / 2;
    return output - in_warp + matrix * 8 + 2 * pair + output % 2;
  }
};

/// Weights of a stage into shared memory, unit by unit for each output; zeros where there is no channel, and in the
/// unit that makes their number even. `offsets` gets the way from an output's first pixel to each unit of the box.
template <int kOutputs>
__device__ void stage_weights(const TilePlan& plan, const int8_t* weights, int first_channel, int first_tap, int taps,
                              uint8_t* place, int* offsets) {
  const int units = taps << plan.unit_shift, padded = units + units % 2, thread = static_cast<int>(threadIdx.x);
  const int row_bytes = TilePlan::weight_bytes(plan.unit_shift, plan.stage_taps);
  for (int i = thread; i < kOutputs * padded; i += kThreads) {
    const int output = i / padded, unit = i - output * padded,
              channel = static_cast<int>(blockIdx.y) * kOutputs + output;
    Pack<Word, 4> codes{};
    if (channel < plan.outputs && unit < units) {
      const int tap = first_tap + (unit >> plan.unit_shift), in_tap = unit & (plan.units() - 1);
      const int64_t from = (int64_t{channel} * plan.taps() + tap) * plan.channels + first_channel + in_tap * 16;
      codes = load<4>(reinterpret_cast<const Word*>(weights + from), 0);
    }
    store(reinterpret_cast<Word*>(place + WarpLayout<kOutputs>::place_of(output) * row_bytes + unit * 16), 0, codes);
  }
  for (int unit = thread; unit < padded; unit += kThreads) {
    const int tap = first_tap + (unit >> plan.unit_shift), in_tap = unit & (plan.units() - 1);
    const int pixel = tap / plan.kernel_width * plan.box_width + tap % plan.kernel_width;
    offsets[unit] = unit < units ? pixel * TilePlan::pixel_bytes(plan.unit_shift) + in_tap * 16 : 0;
  }
}

/// sums += box times weights over `units` of a stage, 16 * kRows pixels and kWarpOutputs channels a warp: of the
/// kOfRows * 16 pixels that it has, those from row `first` of the matrix on.
template <int kOutputs, int kRows, int kOfRows = kRows>
__device__ void multiply_stage(const TilePlan& plan, int units, const uint8_t* box, const uint8_t* weights,
                               const int* offsets, int32_t (*sums)[WarpLayout<kOutputs>::kColumns][4], int first = 0) {
  using Layout = WarpLayout<kOutputs>;
  const Layout warp;
  const uint8_t* pixels[kRows];
  for (int r = 0; r < kRows; ++r) {
    int pixel = (warp.down * kOfRows + first + r) * 16 + warp.lane % 16;
    if (pixel >= plan.tile_height * plan.tile_width) pixel = 0;  // computed and thrown away
    const int row = pixel / plan.tile_width, column = pixel - row * plan.tile_width;
    pixels[r] = box + (row * plan.box_width + column) * plan.step * TilePlan::pixel_bytes(plan.unit_shift);
  }
  const int row_bytes = TilePlan::weight_bytes(plan.unit_shift, plan.stage_taps);
  const int output = warp.across * Layout::kWarpOutputs + warp.lane / 16 * 8 + warp.lane % 8;
  const uint8_t* column = weights + output * row_bytes + warp.lane / 8 % 2 * 16;
  offsets += warp.lane / 16;
  for (int unit = 0; unit < units; unit += 2) {
    const int offset = offsets[unit];
    Word a[kRows][4];
    for (int r = 0; r < kRows; ++r) load_matrices(a[r], pixels[r] + offset);
    for (int c = 0; c < Layout::kColumns; c += 2) {
      Word b[4];
      load_matrices(b, column + c * 8 * row_bytes + unit * 16);
      const Word left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
      for (int r = 0; r < kRows; ++r) {
        multiply_codes(sums[r][c], a[r], left);
        multiply_codes(sums[r][c + 1], a[r], right);
      }
    }
  }
}

/// Sums of a convolution as it writes them.
struct SumOutput {
  int16_t* narrow;
  int32_t* wide;
  const float *step_a, *step_b;

  explicit SumOutput(Sums& y)
      : narrow(output<int16_t>(y.narrow)),
        wide(output<int32_t>(y.wide)),
        step_a(input<float>(y.step_a)),
        step_b(input<float>(y.step_b)) {}
};

/// What a lane adds up of its channels; Sum holds the sum of as many sums as it adds.
template <int kOutputs, typename Sum = int64_t>
struct LaneTotals {
  static constexpr int N = WarpLayout<kOutputs>::kLaneOutputs;
  Sum sums[N] = {};
  int64_t squares[N] = {};

  __device__ void add(const Pack<int32_t, N>& pack) {
    for (int j = 0; j < N; ++j) {
      sums[j] += pack[j];
      squares[j] += int64_t{pack[j]} * pack[j];
    }
  }
  /// To `totals` [2, kOutputs] of each row of warps.
  __device__ void store(int64_t* totals) const {
    const WarpLayout<kOutputs> warp;
    int64_t own[2 * N];
    for (int j = 0; j < N; ++j) own[j] = sums[j], own[N + j] = squares[j];
    const int first = add_up_rows(own);
    for (int i = 0; i < 2 * N / 8; ++i) {
      const int index = first + i, output = warp.first_output() + index % N;
      totals[(warp.down * 2 + index / N) * kOutputs + output] = own[i];
    }
  }
};

/// Stores the tile's sums, and adds them and their squares up to `totals` [2, kOutputs] of each row of warps.
template <int kOutputs, int kRows>
__device__ void store_tile(const TilePlan& plan, const Tile& tile,
                           const int32_t (&sums)[kRows][WarpLayout<kOutputs>::kColumns][4], const SumOutput& y,
                           int64_t* totals) {
  using Layout = WarpLayout<kOutputs>;
  constexpr int N = Layout::kLaneOutputs;
  const Layout warp;
  const int channel = static_cast<int>(blockIdx.y) * kOutputs + warp.first_output();
  LaneTotals<kOutputs> lane_totals;
  for (int i = 0; i < 2 * kRows; ++i) {
    const int pixel = (warp.down * kRows + i / 2) * 16 + i % 2 * 8 + warp.lane / 4;
    const int row = pixel / plan.tile_width, column = pixel - row * plan.tile_width;
    const int out_row = tile.out_row + row, out_column = tile.out_column + column;
    if (row >= plan.tile_height || out_row >= plan.out_height || out_column >= plan.out_width ||
        channel >= plan.outputs)
      continue;
    Pack<int32_t, N> pack;
    for (int j = 0; j < N; ++j) pack[j] = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
    lane_totals.add(pack);
    const int64_t place = (int64_t{tile.image} * plan.out_height + out_row) * plan.out_width + out_column;
    store_sums(y.narrow, y.wide, place * plan.outputs + channel, pack);
  }
  lane_totals.store(totals);
}

/// Adds the totals of a tile to the statistics, behind a barrier.
template <int kOutputs>
__device__ void add_totals(const TilePlan& plan, const int64_t* totals, const StatisticsArrays& statistics) {
  for (int i = static_cast<int>(threadIdx.x); i < 2 * kOutputs; i += kThreads) {
    const int channel = static_cast<int>(blockIdx.y) * kOutputs + i % kOutputs;
    if (channel >= plan.outputs) continue;
    int64_t total = 0;
    for (int down = 0; down < WarpLayout<kOutputs>::kDown; ++down) total += totals[down * 2 * kOutputs + i];
    statistics.add(i >= kOutputs, channel, total);
  }
}

}  // namespace apotnet::cuda
