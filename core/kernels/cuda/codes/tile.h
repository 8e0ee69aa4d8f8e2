#pragma once

#include <bit>

#include "core/kernels/cuda/convolution_sizes.h"
#include "core/kernels/cuda/mma.h"

// A convolution of codes as products of matrices (m16n8k32), for one block: the sums of kTilePixels output pixels and
// kOutputs output channels. The pixels are a rectangle of one image, or several small images; their input with its halo
// stands in shared memory for kChunk channels at a time, zero outside the image. Weights [O][tap][C] are read where
// they lie: all blocks read the same few, which stay in the first-level cache.
//
// Neither the order of the channels in a sum nor that of the output channels among a product's columns matters, so both
// are chosen for wide accesses: a lane's kChunk / 4 channels of a pixel or a weight are neighbours (one load of 4, 8 or
// 16 bytes, without bank conflicts where neighbouring outputs read neighbouring pixels), and so are the four output
// channels that it ends up with.

namespace apotnet::cuda {

inline constexpr int kTilePixels = 128;
/// Input pixels of a tile: enough for windows of 3x3 at stride 2.
inline constexpr int kMostInputPixels = 576;

/// How the output is cut into tiles. Made on the host.
struct CodesTilePlan : ConvolutionSizes {
  int step;                   // input pixels from one pixel of the tile to the next
  int log_rows, log_columns;  // outputs of a tile in one image, as powers of two
  int in_rows, in_columns;    // inputs of a tile in one image
  int tile_images;            // as many as have room
  int tiles_down, tiles_across, tiles_of_images;

  CodesTilePlan(const Shape& x, const Shape& w, const Conv2dGeometry& geometry)
      : ConvolutionSizes(sizes_of(x, w, geometry)) {
    require(x[0] * x[1] * x[2] < (int64_t{1} << 31), "a batch too large for one convolution: ", x);
    const bool one_by_one = taps() == 1;
    int most_columns = 16;
    if (one_by_one && stride == 1 && padding == 0) {  // the batch is one long row of pixels
      width = out_width = images * height * width;
      images = height = out_height = 1;
      most_columns = kTilePixels;
    }
    const auto log_up = [](int n) { return static_cast<int>(std::bit_width(static_cast<unsigned>(n - 1))); };
    log_columns = std::min(log_up(out_width), log_up(most_columns));
    log_rows = std::min(log_up(out_height), log_up(kTilePixels) - log_columns);
    // Of a window of one pixel only those that are read go into the tile.
    step = one_by_one ? stride : 1;
    in_rows = ((1 << log_rows) - 1) * tile_stride() + kernel_height;
    in_columns = ((1 << log_columns) - 1) * tile_stride() + kernel_width;
    tile_images = std::min(kTilePixels >> (log_rows + log_columns), kMostInputPixels / (in_rows * in_columns));
    if (tile_images == 0) return;
    const auto parts = [](int whole, int part) { return (whole + part - 1) / part; };
    tiles_down = parts(out_height, 1 << log_rows);
    tiles_across = parts(out_width, 1 << log_columns);
    tiles_of_images = parts(images, tile_images);
  }

  __host__ __device__ int tile_stride() const { return stride / step; }
  int64_t tiles() const { return int64_t{tiles_of_images} * tiles_down * tiles_across; }
  /// Channels in shared memory at a time: 64, 32 or 16; 0: no tile fits.
  int chunk() const {
    if (tile_images == 0) return 0;
    return channels % 64 == 0 ? 64 : channels % 32 == 0 ? 32 : channels % 16 == 0 ? 16 : 0;
  }
};

/// Where a block's tile lies: the first image, output row and output column.
struct CodesTilePlace {
  int image, row, column;

  __device__ CodesTilePlace(const CodesTilePlan& plan, int tile)
      : image(tile / plan.tiles_across / plan.tiles_down * plan.tile_images),
        row(tile / plan.tiles_across % plan.tiles_down << plan.log_rows),
        column(tile % plan.tiles_across << plan.log_columns) {}
};

/// Where an output pixel of a tile lies in [N, OH, OW]; -1: outside of it.
__device__ inline int64_t output_pixel(const CodesTilePlan& plan, const CodesTilePlace& place, int pixel) {
  const int line = pixel >> plan.log_columns, in_tile = line >> plan.log_rows, image = place.image + in_tile;
  const int row = place.row + (line & ((1 << plan.log_rows) - 1));
  const int column = place.column + (pixel & ((1 << plan.log_columns) - 1));
  if (column >= plan.out_width || row >= plan.out_height || in_tile >= plan.tile_images || image >= plan.images)
    return -1;
  return (int64_t{image} * plan.out_height + row) * plan.out_width + column;
}

/// How the warps share a block's sums.
template <int kOutputs>
struct CodesWarpShare {
  static constexpr int kAcross = kOutputs == 64 ? 2 : 1, kDown = kThreads / 32 / kAcross;
  static constexpr int kRowTiles = kTilePixels / 16 / kDown, kColumnTiles = kOutputs / 8 / kAcross;

  int row, pair;                   // of the lane (mma.h)
  int first_pixel, first_channel;  // of the warp in the block

  __device__ CodesWarpShare()
      : row(static_cast<int>(threadIdx.x) % 32 / 4),
        pair(static_cast<int>(threadIdx.x) % 4),
        first_pixel(static_cast<int>(threadIdx.x) / 32 / kAcross * 16 * kRowTiles),
        first_channel(static_cast<int>(threadIdx.x) / 32 % kAcross * 8 * kColumnTiles) {}

  /// The pixel of the block's tile behind row half 0 or 1 of a row tile.
  __device__ int pixel(int row_tile, int half) const { return first_pixel + 16 * row_tile + 8 * half + row; }
  /// The output channel, of the block, that the lane loads weights of for a column tile.
  __device__ int loaded_channel(int column_tile) const {
    return first_channel + column_tile / 2 * 16 + row / 2 * 4 + column_tile % 2 * 2 + row % 2;
  }
  /// The first of four output channels whose sums stand in column tiles 2 * group and 2 * group + 1.
  __device__ int summed_channel(int group) const { return first_channel + 16 * group + 4 * pair; }
};

/// kChunk channels from `first_channel` on of the tile's input pixels; barriers before and after are the caller's.
template <int kChunk>
__device__ void load_codes_tile(const CodesTilePlan& plan, const CodesTilePlace& place, const Word* x,
                                int first_channel, Word* tile) {
  constexpr unsigned kPieces = kChunk / 16;
  const auto columns = static_cast<unsigned>(plan.in_columns), rows = static_cast<unsigned>(plan.in_rows);
  const unsigned count = static_cast<unsigned>(plan.tile_images) * rows * columns * kPieces;
  const int top = place.row * plan.stride - plan.padding, left = place.column * plan.stride - plan.padding;
  for (unsigned i = threadIdx.x; i < count; i += kThreads) {
    const unsigned pixel = i / kPieces, piece = i % kPieces, line = pixel / columns;
    const int image = place.image + static_cast<int>(line / rows);
    const int y = top + static_cast<int>(line % rows) * plan.step;
    const int column = left + static_cast<int>(pixel % columns) * plan.step;
    Pack<Word, 4> words{};
    if (image < plan.images && y >= 0 && y < plan.height && column >= 0 && column < plan.width) {
      const int64_t from = (int64_t{image} * plan.height + y) * plan.width + column;
      words = load<4>(x, (from * plan.channels + first_channel) / 4 + 4 * piece);
    }
    store(tile, int64_t{4} * i, words);
  }
}

/// The sums of a warp, and where its lanes find their operands.
template <typename Code, int kChunk, int kOutputs>
class CodesWarpSums {
  using Share = CodesWarpShare<kOutputs>;
  static constexpr int kWords = kChunk / 16;            // of a lane, for one tap
  static constexpr int kTaps = kWords == 1 ? 2 : 1;     // that fill a product together
  static constexpr int kProducts = kTaps * kWords / 2;  // of a fragment of this many words
  using Fragment = Pack<Word, kTaps * kWords>;

 public:
  __device__ CodesWarpSums(const CodesTilePlan& plan, const Share& share, int first_output) : sums_{} {
    const int taps = plan.taps();
    for (int tile = 0; tile < Share::kRowTiles; ++tile)
      for (int half = 0; half < 2; ++half) {
        const int pixel = share.pixel(tile, half), across = pixel & ((1 << plan.log_columns) - 1);
        const int line = pixel >> plan.log_columns, down = line & ((1 << plan.log_rows) - 1);
        int image = line >> plan.log_rows;
        if (image >= plan.tile_images) image = 0;  // computed and thrown away
        const int in_row = image * plan.in_rows + down * plan.tile_stride();
        pixels_[tile][half] =
            (in_row * plan.in_columns + across * plan.tile_stride()) * kChunk / 4 + share.pair * kWords;
      }
    for (int tile = 0; tile < Share::kColumnTiles; ++tile) {
      const int output = first_output + share.loaded_channel(tile);
      weights_[tile] = output < plan.outputs ? output * taps * (plan.channels / 4) + share.pair * kWords : -1;
    }
  }

  /// Adds the products of the channels in the tile, which are `first_channel` and the following.
  __device__ void add(const CodesTilePlan& plan, const Word* tile, const Word* w, int first_channel) {
    const int taps = plan.taps(), weight_step = plan.channels / 4;
    const Word* weights = w + first_channel / 4;
    for (int tap = 0; tap < taps; tap += kTaps) {
      Fragment b[Share::kColumnTiles];
      for (int j = 0; j < Share::kColumnTiles; ++j)
        b[j] = fragment(weights, weights_[j], tap * weight_step, weight_step, weights_[j] >= 0, tap + 1 < taps);
      const int from = tile_word(plan, tap), rest = kTaps == 2 ? tile_word(plan, tap + 1) - from : 0;
      for (int i = 0; i < Share::kRowTiles; ++i) {
        Fragment a[2];
        for (int half = 0; half < 2; ++half)
          a[half] = fragment(tile, pixels_[i][half], from, rest, true, tap + 1 < taps);
        for (int j = 0; j < Share::kColumnTiles; ++j)
          for (int k = 0; k < kProducts; ++k)
            multiply(sums_[i][j], {a[0][2 * k], a[1][2 * k], a[0][2 * k + 1], a[1][2 * k + 1]},
                     {b[j][2 * k], b[j][2 * k + 1]});
      }
    }
  }

  /// Of the pixel behind row half `half` of a row tile: the sums of summed_channel(group) and the next three.
  __device__ Pack<int32_t, 4> sums(int row_tile, int half, int group) const {
    const auto& first = sums_[row_tile][2 * group];
    const auto& second = sums_[row_tile][2 * group + 1];
    return {{first[2 * half], first[2 * half + 1], second[2 * half], second[2 * half + 1]}};
  }

 private:
  // The words of one tap, or one word of each of two taps; zero for a lane without, and for a tap behind the last.
  __device__ static Fragment fragment(const Word* words, int own, int from, int to_next, bool has_any, bool has_next) {
    Fragment result{};
    if (!has_any) return result;
    if constexpr (kTaps == 1) {
      result = load<kWords>(words, own + from);
    } else {
      result[0] = words[own + from];
      if (has_next) result[1] = words[own + from + to_next];
    }
    return result;
  }
  __device__ static int tile_word(const CodesTilePlan& plan, int tap) {
    return (tap / plan.kernel_width * plan.in_columns + tap % plan.kernel_width) * (kChunk / 4);
  }
  __device__ static void multiply(int32_t (&sums)[4], const Word (&a)[4], const Word (&b)[2]) {
    if constexpr (std::is_signed_v<Code>)
      multiply_signed_codes(sums, a, b);
    else
      multiply_codes(sums, a, b);
  }

  int32_t sums_[Share::kRowTiles][Share::kColumnTiles][4];
  int pixels_[Share::kRowTiles][2];   // words of the tile: the lane's first, of tap 0
  int weights_[Share::kColumnTiles];  // words of the weights, or -1: no such channel
};

}  // namespace apotnet::cuda
