#pragma once

#include "core/kernels/cuda/convolution_sizes.h"
#include "core/kernels/cuda/step/value_gradient.h"

// The parts of the kernel of launch_input_gradient. A block goes through tiles of input pixels; for each it stages the
// part of dy that its kernel windows reach ("halo") and the weights in shared memory, chunk by chunk of dy's channels,
// and multiplies on tensor cores: rows are pixels, columns input channels, the inner dimension is (tap, dy's channel).

namespace apotnet::cuda {

/// Shared memory for what is staged, in words.
inline constexpr int kStageWords = 11136;

/// Words from one output channel's staged weights to the next one's: 8 rows of a matrix lie in different banks.
template <int kColumns>
inline constexpr int kWeightPitch = kColumns / 2 + 4;

/// Shapes, and how the work is cut: by the shapes alone.
struct InputGradientPlan : ConvolutionSizes {
  int tile_height, log_tile_width, tile_width, tiles_down, tiles_across, tiles;
  int rounds;  // tiles of a block, one after the other
  int halo_height, halo_width;
  int chunk;                           // channels of dy staged at once
  int pitch;                           // words of a staged pixel: eight neighbours lie in different banks
  int taps_at_once;                    // whose weights are staged at once
  int weight_place;                    // the word where they begin
  bool weights_stay;                   // all are staged before a block's first tile
  static constexpr int kUnrolled = 1;  // taps, and steps of channels, in the code

  __device__ int taps_from(int tap) const { return min(taps_at_once, taps() - tap); }
};

/// What of a plan depends on the tile and on shared memory.
template <int kPixels, int kColumns>
constexpr void cut(InputGradientPlan& plan) {
  plan.log_tile_width = kPixels == 64 || plan.width <= 8 ? 3 : 4;
  plan.tile_width = 1 << plan.log_tile_width;
  plan.tile_height = kPixels / plan.tile_width;
  plan.halo_height = (plan.tile_height + plan.kernel_height - 2) / plan.stride + 1;
  plan.halo_width = (plan.tile_width + plan.kernel_width - 2) / plan.stride + 1;

  const int pixels = plan.halo_height * plan.halo_width + 1;
  int gradient_words = 0, tap_words = 0;
  for (plan.chunk = std::min(64, plan.outputs); plan.chunk >= 16; plan.chunk -= 16) {
    plan.pitch = plan.chunk / 2 + 4;
    gradient_words = pixels * plan.pitch;
    tap_words = plan.chunk * kWeightPitch<kColumns>;
    if (gradient_words + tap_words <= kStageWords) break;
  }
  if (plan.chunk < 16) return;
  plan.weight_place = gradient_words;
  plan.taps_at_once = std::min(plan.taps(), (kStageWords - plan.weight_place) / tap_words);
  plan.weights_stay = plan.chunk == plan.outputs && plan.taps_at_once == plan.taps();
}

/// The plan of most convolutions: 3 x 3, stride 1, as many channels of dy as of the input. What is the same for all of
/// them is known to the compiler.
template <int kPixels, int kColumns, int kChannels>
struct SquarePlan : InputGradientPlan {
  static constexpr InputGradientPlan kCut = [] {
    InputGradientPlan plan{};
    plan.height = plan.width = 16, plan.channels = plan.outputs = kChannels;
    plan.kernel_height = plan.kernel_width = 3, plan.stride = plan.padding = 1;
    cut<kPixels, kColumns>(plan);
    return plan;
  }();
  static constexpr int channels = kCut.channels, outputs = kCut.outputs;
  static constexpr int kernel_height = 3, kernel_width = 3, stride = 1, padding = 1;
  static constexpr int tile_height = kCut.tile_height, log_tile_width = kCut.log_tile_width,
                       tile_width = kCut.tile_width;
  static constexpr int halo_height = kCut.halo_height, halo_width = kCut.halo_width;
  static constexpr int chunk = kCut.chunk, pitch = kCut.pitch, weight_place = kCut.weight_place;
  static constexpr int taps_at_once = kCut.taps_at_once == 9 ? 9 : kCut.taps_at_once >= 3 ? 3 : 1;
  static constexpr bool weights_stay = kCut.weights_stay;
  static constexpr int kUnrolled = 9;
  static_assert(chunk == outputs);

  __device__ static constexpr int taps() { return 9; }
  __device__ static constexpr int taps_from(int) { return taps_at_once; }
  /// Narrow images have tiles of another shape.
  static bool fits(const InputGradientPlan& plan) {
    return plan.kernel_height == 3 && plan.kernel_width == 3 && plan.stride == 1 && plan.padding == 1 &&
           plan.channels == kChannels && plan.outputs == kChannels && plan.width > tile_width / 2;
  }
};

/// A tile: its image and its first pixel.
struct InputTile {
  int image, top, left;

  template <typename Plan>
  __device__ static InputTile of(const Plan& plan, int number) {
    const int across = number % plan.tiles_across, rest = number / plan.tiles_across;
    return {rest / plan.tiles_down, rest % plan.tiles_down * plan.tile_height, across * plan.tile_width};
  }
  /// To the one that follows.
  template <typename Plan>
  __device__ void advance(const Plan& plan) {
    left += plan.tile_width;
    if (left < plan.width) return;
    left = 0;
    top += plan.tile_height;
    if (top < plan.height) return;
    top = 0;
    ++image;
  }
  /// The first staged pixel of dy.
  template <typename Plan>
  __device__ int out_top(const Plan& plan) const {
    return first_output(top + plan.padding - (plan.kernel_height - 1), plan.stride);
  }
  template <typename Plan>
  __device__ int out_left(const Plan& plan) const {
    return first_output(left + plan.padding - (plan.kernel_width - 1), plan.stride);
  }
  /// How far that one lies from the first pixel, in pixels of the input.
  template <typename Plan>
  __device__ int reach_down(const Plan& plan) const {
    return top + plan.padding - out_top(plan) * plan.stride;
  }
  template <typename Plan>
  __device__ int reach_right(const Plan& plan) const {
    return left + plan.padding - out_left(plan) * plan.stride;
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
template <int kPixels, typename Plan>
__device__ TilePixel pixel_of(const Plan& plan, int p) {
  if (plan.stride != 2) return {p >> plan.log_tile_width, p & (plan.tile_width - 1)};
  const int parities = p / (kPixels / 4), rest = p % (kPixels / 4), log_across = plan.log_tile_width - 1;
  return {(rest >> log_across) * 2 + parities / 2, (rest & ((1 << log_across) - 1)) * 2 + parities % 2};
}

/// The staged pixel of dy that a tap brings to a pixel, given as it lies from the first staged one; the one of zeros
/// behind the halo where there is none.
template <typename Plan>
__device__ int staged_pixel(const Plan& plan, TilePixel reached, int tap_row, int tap_column) {
  int row = reached.row - tap_row, column = reached.column - tap_column;
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

using Quad = Pack<Word, 4>;

/// Eight channels of dy from element i on: what is read of them ahead, and what becomes of it, rounded to bf16. The
/// first of them is channel c, `step` that of gy.x.
struct FetchedGradient {
  Quad g;     // of the batch norm's output; or dy
  Quad sums;  // of the batch norm's input, where it is sums

  __device__ static FetchedGradient of(const OutputGradientArrays& gy, int64_t i) {
    FetchedGradient result{load_halves<8>(gy.g ? gy.g : gy.stored, i), {}};
    if (gy.g && !gy.x.values) result.sums = gy.x.sums.fetch<8>(i);
    return result;
  }
  __device__ Quad finish(const OutputGradientArrays& gy, const float* coefficients, float step, int64_t i,
                         int c) const {
    if (!gy.g) return g;
    const Pack<float, 8> xs = gy.x.values ? load<8>(gy.x.values, i) : gy.x.finish_sums<8>(sums, i, step);
    Quad result;
    for (int half = 0; half < 8; half += 4) {
      const CoefficientQuad factor = load<4>(coefficients, c + half),
                            slope = load<4>(coefficients + kFusedChannels, c + half),
                            constant = load<4>(coefficients + 2 * kFusedChannels, c + half);
      for (int j = 0; j < 4; j += 2) {
        const int k = half + j;
        const float low = float_of(g[k / 2] << 16), high = float_of(g[k / 2] & 0xFFFF0000u);
        result[k / 2] =
            rounded_pair(norm_input_gradient(low, xs[k], factor[j], slope[j], constant[j]),
                         norm_input_gradient(high, xs[k + 1], factor[j + 1], slope[j + 1], constant[j + 1]));
      }
    }
    return result;
  }
};

/// Whether output position `out` of dy is this tile's to store: the tile with the middle of its window, so far as that
/// lies in the image, stores it.
__device__ inline bool is_own(int out, int stride, int padding, int kernel, int size, int begin, int count) {
  const int middle = min(max(out * stride - padding + (kernel - 1) / 2, 0), size - 1);
  return middle >= begin && middle < begin + count;
}

/// Stages `count` channels of dy from `first` on, [halo pixels, pitch], and with a stride one pixel of zeros more;
/// stores what is computed. `step` is that of gy.x. kBatch reads are on their way before the first is worked on.
template <int kBatch, typename Plan>
__device__ void stage_gradient(const Plan& plan, const InputTile& tile, const OutputGradientArrays& gy,
                               const float* coefficients, float step, int first, int count, Word* stage) {
  const int packs = count / 8, pixels = plan.halo_height * plan.halo_width, staged = pixels + (plan.stride != 1);
  const bool stores = gy.g && gy.stored && blockIdx.y == 0;
  const int top = tile.out_top(plan), left = tile.out_left(plan);
  const int64_t corner = (int64_t{tile.image} * plan.out_height + top) * plan.out_width + left;
  struct Item {
    int pixel, c;       // of the stage
    bool inside, owns;  // of dy; what it stores
    int64_t i;
    FetchedGradient fetched;
  };
  for (int begin = static_cast<int>(threadIdx.x); begin < staged * packs; begin += kBatch * kThreads) {
    Item items[kBatch];
    for (int k = 0; k < kBatch; ++k) {
      const int n = begin + k * kThreads;
      Item& item = items[k];
      item.pixel = n / packs, item.c = n % packs * 8;
      const int down = item.pixel / plan.halo_width, across = item.pixel % plan.halo_width;
      const int row = top + down, column = left + across;
      item.inside = item.pixel < pixels && row >= 0 && row < plan.out_height && column >= 0 && column < plan.out_width;
      item.owns = item.inside && stores &&
                  is_own(row, plan.stride, plan.padding, plan.kernel_height, plan.height, tile.top, plan.tile_height) &&
                  is_own(column, plan.stride, plan.padding, plan.kernel_width, plan.width, tile.left, plan.tile_width);
      item.i = (corner + (down * plan.out_width + across)) * plan.outputs + first + item.c;
      if (item.inside) item.fetched = FetchedGradient::of(gy, item.i);
    }
    for (int k = 0; k < kBatch; ++k) {
      const Item& item = items[k];
      Quad pack = {};
      if (item.inside) pack = item.fetched.finish(gy, coefficients, step, item.i, first + item.c);
      if (item.owns) store(reinterpret_cast<Word*>(gy.stored + item.i), 0, pack);
      if (item.pixel < staged) store(stage, item.pixel * plan.pitch + item.c / 2, pack);
    }
  }
}

/// How the eight warps of a block share a tile: each has 16 * kRows pixels and kTiles times 8 columns. Of each two
/// tiles a lane ends up with four columns side by side, of two pixels (rows of the matrix) in 16; all warps together
/// have kGroup columns of two tiles side by side.
template <int kPixels, int kColumns>
struct WarpShare {
  static constexpr int kAcross = kPixels < 128 ? 2 : 1, kDown = kThreads / 32 / kAcross, kRows = kPixels / 16 / kDown;
  static constexpr int kTiles = kColumns / 8 / kAcross, kGroup = 16 * kAcross, kGroups = kColumns / kGroup;
  static_assert(kRows * 16 * kDown == kPixels);
  int lane, down, across;

  __device__ WarpShare()
      : lane(static_cast<int>(threadIdx.x) % 32),
        down(static_cast<int>(threadIdx.x) / 32 % kDown),
        across(static_cast<int>(threadIdx.x) / 32 / kDown) {}

  /// The first of the warp's r-th 16 pixels.
  __device__ int first_pixel(int r) const { return (down * kRows + r) * 16; }
  /// The lane's first column in a group, and its place where threads lie row by row with a group's columns in each.
  __device__ int column() const { return across * 16 + lane % 4 * 4; }
  __device__ int place() const { return (down * 8 + lane / 4) * (kGroup / 4) + column() / 4; }
};

/// Stages weights as bf16 for the taps and the channels of dy named, [tap, channel of dy, columns]. Of each 16 columns,
/// pairs come first that a lane finds in the first of two tiles (WarpShare), then those of the second.
template <int kColumns, typename Plan>
__device__ void stage_weights(const Plan& plan, const int8_t* codes, int first_tap, int taps, int first, int count,
                              Word* stage) {
  constexpr int kSixteens = kColumns / 16;
#pragma unroll 1
  for (int n = static_cast<int>(threadIdx.x); n < taps * count * kSixteens; n += kThreads) {
    const int sixteen = n % kSixteens, row = n / kSixteens, tap = row / count, out = row % count;
    const int column = static_cast<int>(blockIdx.y) * kColumns + sixteen * 16;
    Quad own = {}, even, odd;
    if (column < plan.channels) {
      const int64_t place = (int64_t{first + out} * plan.taps() + first_tap + tap) * plan.channels + column;
      own = load<4>(reinterpret_cast<const Word*>(codes + place), 0);
    }
    for (int i = 0; i < 4; ++i) even[i] = pair_of_codes(own[i]), odd[i] = pair_of_codes(own[i] >> 16);
    Word* const place = stage + row * kWeightPitch<kColumns> + sixteen * 8;
    store(place, 0, even);
    store(place, 4, odd);
  }
}

/// Adds the products of the staged taps and channels.
template <typename Share, int kPixels, typename Plan>
__device__ void multiply_taps(const Plan& plan, const InputTile& tile, int first_tap, int taps, int count,
                              const Word* stage, const Word* weights, float (&sums)[Share::kRows][Share::kTiles][4]) {
  constexpr int kPitch = kWeightPitch<Share::kGroup * Share::kGroups>;
  const Share share;
  // What the lane hands in: mma.h.
  const Word* const column = stage + share.lane / 16 * 4;
  const Word* row = weights + share.lane % 16 * kPitch + share.across * 8 + share.lane / 16 * 4;
  TilePixel pixels[Share::kRows];
  for (int r = 0; r < Share::kRows; ++r) {
    pixels[r] = pixel_of<kPixels>(plan, share.first_pixel(r) + share.lane % 16);
    pixels[r].row += tile.reach_down(plan);
    pixels[r].column += tile.reach_right(plan);
  }
  const int steps = count / 16, first_row = first_tap / plan.kernel_width;
  int tap_row = first_row, tap_column = first_tap - first_row * plan.kernel_width;
  const auto next_tap = [&] {
    if (++tap_column == plan.kernel_width) ++tap_row, tap_column = 0;
  };
#pragma unroll Plan::kUnrolled
  for (int t = 0; t < taps; ++t, next_tap()) {
    const Word* places[Share::kRows];
    bool none = plan.stride == 2;
    for (int r = 0; r < Share::kRows; ++r) {
      const int staged = staged_pixel(plan, pixels[r], tap_row, tap_column);
      places[r] = column + staged * plan.pitch;
      none = none && staged == plan.halo_height * plan.halo_width;
    }
    if (none) continue;  // the same in the whole warp
#pragma unroll Plan::kUnrolled
    for (int step = 0; step < steps; ++step) {
      Word a[Share::kRows][4];
      for (int r = 0; r < Share::kRows; ++r)
        load_matrices(a[r], reinterpret_cast<const uint8_t*>(places[r] + 8 * step));
      for (int group = 0; group < Share::kGroups; ++group) {
        Word b[4];
        load_transposed(
            b, reinterpret_cast<const BFloat16*>(row + (t * count + step * 16) * kPitch + group * Share::kGroup / 2));
        for (int r = 0; r < Share::kRows; ++r) {
          multiply_bf16(sums[r][2 * group], a[r], {b[0], b[1]});
          multiply_bf16(sums[r][2 * group + 1], a[r], {b[2], b[3]});
        }
      }
    }
  }
}

}  // namespace apotnet::cuda
