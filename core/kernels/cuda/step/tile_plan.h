#pragma once

#include <optional>

#include "core/kernels/cuda/convolution_sizes.h"

namespace apotnet::cuda {

/// How a convolution of codes is cut: a block computes a rectangle of outputs of one image from the box of input pixels
/// that they need, which lies in shared memory with zeros where it leaves the image. What does not fit at once comes in
/// stages, of so many channels and kernel positions (taps) each. The cut depends on the shapes alone.
struct TilePlan : ConvolutionSizes {
  // Outputs of a block, and blocks of an image.
  int tile_height, tile_width;
  int tiles_down, tiles_across;
  // Input pixels of a block: every `spread`-th one, `step` of those from one output to the next. The windows of a 1x1
  // convolution leave gaps that need not be read; any other has spread 1 and step = stride.
  int box_height, box_width;
  int spread, step;
  // A stage.
  int unit_shift;  // 16 << unit_shift channels: 16, 32 or 64
  int stage_taps;

  constexpr int units() const { return 1 << unit_shift; }

  /// Bytes from pixel to pixel and from output to output in shared memory: odd multiples of 16, so that 8 rows of a
  /// matrix lie in different banks.
  static constexpr int pixel_bytes(int unit_shift) { return 16 * ((1 << unit_shift) | 1); }
  static constexpr int weight_bytes(int unit_shift, int taps) { return 16 * (((taps << unit_shift) + 1) | 1); }

  int blocks() const { return images * tiles_down * tiles_across; }
  /// How much a block has to do beside `capacity` outputs, over the image.
  int64_t cost(int capacity) const {
    return int64_t{tiles_down} * tiles_across * (capacity + int64_t{box_height} * box_width);
  }

  /// For blocks of at most `capacity` outputs with room for `bytes`, of which the weights of `block_outputs` channels
  /// take a part. Not a value where not even one output fits, which takes very large kernels.
  static std::optional<TilePlan> of(const ConvolutionSizes& sizes, int capacity, int block_outputs, int bytes);

  /// Matrix rows of 16 bytes that one stage may have: as many as the kernel keeps offsets for.
  static constexpr int kMostUnits = 64;
};

}  // namespace apotnet::cuda
