#pragma once

#include "core/kernels/cuda/step/code_tile.h"

// A whole image in the registers of a block, for launches of several convolutions.

namespace apotnet::cuda {

/// How a block holds an image of so many channels: kRows times 16 pixels a warp, and of these a lane 2 kRows packs of
/// channels side by side (WarpLayout).
template <int kChannels>
struct ImageLayout : WarpLayout<kChannels> {
  static constexpr int kRows = kChannels == 16 ? 8 : kChannels == 32 ? 2 : 1;
  static constexpr int kRowsAtOnce = std::min(kRows, 2);  // in a product: each takes four registers more
  static constexpr int kPixels = WarpLayout<kChannels>::capacity(kRows);
};

/// An array of the lane's packs, or of rows with two packs each, moved on by so many of them: the first come last.
template <int kBy, typename T, int kCount>
__device__ void move_on(T (&array)[kCount]) {
  static_assert(kBy < kCount);
  T first[kBy];
  for (int i = 0; i < kBy; ++i) memcpy(&first[i], &array[i], sizeof(T));
  for (int i = 0; i + kBy < kCount; ++i) memcpy(&array[i], &array[i + kBy], sizeof(T));
  for (int i = 0; i < kBy; ++i) memcpy(&array[kCount - kBy + i], &first[i], sizeof(T));
}

/// Calls f(i, pixel, row, column) for the lane's packs, of an image of so many pixels. Registers have no index, and
/// code for each pack would not fit the instruction cache: i counts a few packs, and behind them the arrays that f
/// works with, given as well, are moved on, until they are back where they were.
template <int kChannels, typename F, typename... Arrays>
__device__ void for_each_pack(int width, int pixels, F&& f, Arrays&... arrays) {
  constexpr int kRows = ImageLayout<kChannels>::kRows, kPacks = 2 * kRows, kAtOnce = std::min(kPacks, 4);
  const WarpLayout<kChannels> warp;
  int pixel = warp.down * kRows * 16 + warp.lane / 4;
  int row = pixel / width, column = pixel - row * width;
#pragma unroll 1
  for (int turn = 0; turn < kPacks / kAtOnce; ++turn) {
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (pixel < pixels) f(i, pixel, row, column);
      pixel += 8;
      column += 8;
      while (column >= width) column -= width, ++row;
    }
    if constexpr (kAtOnce < kPacks) (move_on<kAtOnce* int{std::extent_v<Arrays>} / kPacks>(arrays), ...);
  }
}

/// The pixels of the largest image of so many channels that a block holds; 0 where it holds none.
constexpr int pixels_of_block(int channels) {
  return channels == 16   ? ImageLayout<16>::kPixels
         : channels == 32 ? ImageLayout<32>::kPixels
         : channels == 64 ? ImageLayout<64>::kPixels
                          : 0;
}

}  // namespace apotnet::cuda
