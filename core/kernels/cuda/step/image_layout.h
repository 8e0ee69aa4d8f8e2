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

/// Calls f with the channels of an image that a block holds, as a type: 16, 32 or 64.
template <typename F>
__device__ void with_channels(int channels, F&& f) {
  if (channels == 16) f(std::integral_constant<int, 16>{});
  if (channels == 32) f(std::integral_constant<int, 32>{});
  if (channels == 64) f(std::integral_constant<int, 64>{});
}

/// The first kUsed of an array moved on by kBy: the first come last.
template <int kBy, int kUsed, typename T, int kCount>
__device__ void move_on(T (&array)[kCount]) {
  static_assert(kBy < kUsed && kUsed <= kCount);
  T first[kBy];
  for (int i = 0; i < kBy; ++i) memcpy(&first[i], &array[i], sizeof(T));
  for (int i = 0; i + kBy < kUsed; ++i) memcpy(&array[i], &array[i + kBy], sizeof(T));
  for (int i = 0; i < kBy; ++i) memcpy(&array[kUsed - kBy + i], &first[i], sizeof(T));
}

/// For the lane's packs, of an image of so many pixels: f(i, pixel, row, column, fetched), where fetched = fetch(pixel)
/// has been called for kFetched packs before the first of them is worked on. Registers have no index, and code for each
/// pack would not fit the instruction cache: so i is 0 to 3 in each turn, and the arrays that f works with, given as
/// well, are moved on behind a turn. Each turn finds its packs in the first places; at the end all are back where they
/// were. An array has room for 64 numbers of a lane.
template <int kChannels, int kFetched, typename Fetch, typename F, typename... Arrays>
__device__ void for_each_pack(int width, int pixels, Fetch&& fetch, F&& f, Arrays&... arrays) {
  constexpr int kPacks = 2 * ImageLayout<kChannels>::kRows, kAtOnce = std::min(kPacks, 4);
  constexpr int kPackSize = WarpLayout<kChannels>::kLaneOutputs, kTogether = std::min(kAtOnce, kFetched);
  const WarpLayout<kChannels> warp;
  int pixel = warp.down * kPacks * 8 + warp.lane / 4;
  int row = pixel / width, column = pixel - row * width;
#pragma unroll 1
  for (int turn = 0; turn < kPacks / kAtOnce; ++turn) {
#pragma unroll
    for (int first = 0; first < kAtOnce; first += kTogether) {
      decltype(fetch(0)) fetched[kTogether] = {};
#pragma unroll
      for (int i = 0; i < kTogether; ++i)
        if (pixel + 8 * i < pixels) fetched[i] = fetch(pixel + 8 * i);
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (pixel < pixels) f(first + i, pixel, row, column, fetched[i]);
        pixel += 8;
        column += 8;
        while (column >= width) column -= width, ++row;
      }
    }
    if constexpr (kAtOnce < kPacks)
      (move_on<kAtOnce * kPackSize* int{std::extent_v<Arrays>} / 64,
               kPacks * kPackSize* int{std::extent_v<Arrays>} / 64>(arrays),
       ...);
  }
}
/// Where nothing is fetched.
struct Nothing {};
__device__ inline Nothing nothing(int) { return {}; }

/// bf16 of a lane, two in a word: those of its pack i, N channels.
template <int N>
__device__ Pack<Word, N / 2> words_of(const Word (&held)[32], int i) {
  Pack<Word, N / 2> words;
  for (int j = 0; j < N / 2; ++j) words[j] = held[i * (N / 2) + j];
  return words;
}
template <int N>
__device__ void hold(Word (&held)[32], int i, const Pack<Word, N / 2>& words) {
  for (int j = 0; j < N / 2; ++j) held[i * (N / 2) + j] = words[j];
}
template <int N>
__device__ Pack<float, N> widened(const Pack<Word, N / 2>& pairs) {
  Pack<float, N> result;
  for (int j = 0; j < N; j += 2) {
    result[j] = float_of(pairs[j / 2] << 16);
    result[j + 1] = float_of(pairs[j / 2] & 0xFFFF0000u);
  }
  return result;
}
template <int N>
__device__ Pack<Word, N / 2> narrowed(const Pack<float, N>& values) {
  Pack<Word, N / 2> pairs;
  for (int j = 0; j < N; j += 2) pairs[j / 2] = rounded_pair(values[j], values[j + 1]);
  return pairs;
}

/// The pixels of the largest image of so many channels that a block holds; 0 where it holds none.
constexpr int pixels_of_block(int channels) {
  return channels == 16   ? ImageLayout<16>::kPixels
         : channels == 32 ? ImageLayout<32>::kPixels
         : channels == 64 ? ImageLayout<64>::kPixels
                          : 0;
}

}  // namespace apotnet::cuda
