#pragma once

#include <algorithm>
#include <cstdint>

#include "core/kernels/cuda/convolution_sizes.h"

// How the output pixels of a convolution are cut into tiles, and what of the input a tile needs. Plain numbers, by the
// shapes alone.

namespace apotnet::cuda {

/// Windows of a kernel larger than 3 x 3 are taken one by one, as kernels of their own with another padding.
inline constexpr int kWindow = 3;

struct PixelTiles {
  int images, rows, columns, pixels;     // of output pixels; several images only where a tile holds whole ones
  int patch_rows, patch_columns, patch;  // of the input pixels below it
  int row_step, column_step;             // from a pixel of the patch to the next one, in the image
  int row_stride, column_stride;         // from an output pixel to the next one, in the patch
  int down, across;                      // tiles of an image
  int count;                             // of all images
};

/// Tiles of at most that many rows and columns, of at most `most_pixels` and patches of at most `most_patch`.
inline PixelTiles tiles_of(const ConvolutionSizes& sizes, int rows, int columns, int most_pixels, int most_patch) {
  PixelTiles tiles{};
  // Of a kernel one pixel wide the patch has what it reads and nothing between.
  const auto span = [&](int count, int kernel) {
    return kernel == 1 ? count : (count - 1) * sizes.stride + std::min(kernel, kWindow);
  };
  tiles.images = 1;
  tiles.rows = rows;
  tiles.columns = columns;
  tiles.patch_rows = span(rows, sizes.kernel_height);
  tiles.patch_columns = span(columns, sizes.kernel_width);
  tiles.row_step = sizes.kernel_height == 1 ? sizes.stride : 1;
  tiles.column_step = sizes.kernel_width == 1 ? sizes.stride : 1;
  tiles.row_stride = sizes.stride / tiles.row_step;
  tiles.column_stride = sizes.stride / tiles.column_step;
  tiles.down = (sizes.out_height + rows - 1) / rows;
  tiles.across = (sizes.out_width + columns - 1) / columns;
  const int image_patch = tiles.patch_rows * tiles.patch_columns;
  if (tiles.down == 1 && tiles.across == 1)
    tiles.images = std::clamp(std::min(most_pixels / (rows * columns), most_patch / image_patch), 1, sizes.images);
  tiles.pixels = tiles.images * rows * columns;
  tiles.patch = tiles.images * image_patch;
  tiles.count = (sizes.images + tiles.images - 1) / tiles.images * tiles.down * tiles.across;
  return tiles;
}

/// The tiles that cost least: each takes a round for every `pixels_a_round` of its pixels, and one to be fetched.
/// count = 0 where no tile fits.
inline PixelTiles cheapest_tiles(const ConvolutionSizes& sizes, int most_pixels, int most_patch, int pixels_a_round) {
  PixelTiles best{};
  int64_t least = 0;
  for (int across = 1; across <= sizes.out_width; ++across)
    for (int down = 1; down <= sizes.out_height; ++down) {
      const int rows = (sizes.out_height + down - 1) / down, columns = (sizes.out_width + across - 1) / across;
      if (int64_t{rows} * columns > most_pixels) continue;
      const PixelTiles tiles = tiles_of(sizes, rows, columns, most_pixels, most_patch);
      if (tiles.patch > most_patch) continue;
      const int64_t cost = int64_t{tiles.count} * ((tiles.pixels + pixels_a_round - 1) / pixels_a_round + 1);
      if (best.count == 0 || cost < least || (cost == least && tiles.patch < best.patch)) {
        best = tiles;
        least = cost;
      }
      if (rows == 1) break;
    }
  return best;
}

}  // namespace apotnet::cuda
