// The gradient of a convolution of codes with respect to its input, and on through what the input was made of.
#include "core/kernels/cuda/step/input_gradient.h"

namespace apotnet::cuda {
namespace {

// Words between the rows of a tile's products in shared memory.
template <int kColumns>
constexpr int kProductPitch = kColumns + 8;

// Channels of a thread behind the products: with eight a multiprocessor would hold one block in place of two.
constexpr int kPack = 4;

// All products of a tile, [pixels, columns] in the warps' registers.
template <int kPixels, int kColumns>
__device__ void multiply_tile(const InputGradientPlan& plan, const InputTile& tile, const OutputGradientArrays& gy,
                              const float* coefficients, const int8_t* codes, bool weights_are_there, Word* stage,
                              float (&sums)[WarpShare<kPixels, kColumns>::kTiles][4]) {
  Word* const weights = stage + plan.weight_place;
  for (int first = 0; first < plan.out_channels; first += plan.chunk) {
    const int count = min(plan.chunk, plan.out_channels - first);
    __syncthreads();  // the stage may still be read
    stage_gradient(plan, tile, gy, coefficients, first, count, stage);
    for (int tap = 0; tap < plan.taps; tap += plan.taps_at_once) {
      const int taps = min(plan.taps_at_once, plan.taps - tap);
      if (tap > 0) __syncthreads();
      if (!weights_are_there) stage_weights<kColumns>(plan, codes, tap, taps, first, count, weights);
      __syncthreads();
      multiply_taps<kPixels, kColumns>(plan, tile, tap, taps, count, stage, weights, sums);
    }
  }
}

// From registers to shared memory, where a thread finds its channels side by side.
template <int kPixels, int kColumns>
__device__ void lay_out(const float (&sums)[WarpShare<kPixels, kColumns>::kTiles][4], float* products) {
  constexpr int kTiles = WarpShare<kPixels, kColumns>::kTiles;
  const WarpShare<kPixels, kColumns> share;
  for (int j = 0; j < kTiles; ++j)
    for (int half = 0; half < 2; ++half) {
      const int pixel = share.down * 16 + half * 8 + share.row,
                column = (share.across * kTiles + j) * 8 + share.pair * 2;
      store(products, pixel * kProductPitch<kColumns> + column,
            Pack<float, 2>{{sums[j][2 * half], sums[j][2 * half + 1]}});
    }
}

template <int kPixels, int kColumns, int kNorms>
__global__ void __launch_bounds__(kThreads, 2)
    input_gradient_kernel(InputGradientPlan plan, OutputGradientArrays gy, const int8_t* codes, const float* step,
                          ValueGradientArrays<kNorms> gradient, unsigned* ticket) {
  using TermQuad = Pack<float, 4>;
  constexpr int kPacks = kColumns / kPack, kRows = kThreads / kPacks;
  SHARED_ARRAY(Quad, stage, kStageWords / 4);
  SHARED_ARRAY(TermQuad, terms, kTerms * kColumns / 4);
  SHARED_ARRAY(CoefficientQuad, coefficients, kCoefficientQuads);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  const int first = static_cast<int>(blockIdx.y) * kColumns, columns = min(kColumns, plan.channels - first);
  const int place = static_cast<int>(threadIdx.x) % kPacks, row = static_cast<int>(threadIdx.x) / kPacks;
  auto* const products = reinterpret_cast<float*>(stage);
  const ValuePass<kNorms> pass(gradient, first, columns, terms[0].values, kColumns, table);
  prepare_coefficients(gy, plan.out_channels, coefficients[0].values);

  ValueSums<kPack, kNorms> sums = {};
  for (int number = static_cast<int>(blockIdx.x); number < plan.tiles; number += static_cast<int>(gridDim.x)) {
    const InputTile tile = InputTile::of(plan, number);
    float own[WarpShare<kPixels, kColumns>::kTiles][4] = {};
    const bool is_first = number == static_cast<int>(blockIdx.x);
    multiply_tile<kPixels, kColumns>(plan, tile, gy, coefficients[0].values, codes, plan.weights_stay && !is_first,
                                     stage[0].values, own);
    __syncthreads();
    lay_out<kPixels, kColumns>(own, products);
    __syncthreads();
    for (int p = row; p < kPixels; p += kRows) {
      const TilePixel pixel = pixel_of<kPixels>(plan, p);
      const int y = tile.top + pixel.row, x = tile.left + pixel.column;
      if (y >= plan.height || x >= plan.width || place * kPack >= columns) continue;
      Pack<float, kPack> g = load<kPack>(products, p * kProductPitch<kColumns> + place * kPack);
      for (int j = 0; j < kPack; ++j) g[j] *= step[0];
      const int64_t pixels = (int64_t{tile.image} * plan.height + y) * plan.width + x;
      pass(g, pixels * plan.channels + first + place * kPack, place * kPack, sums);
    }
  }
  __syncthreads();
  finish_value_gradient(gradient, sums, plan.channels, first, kPacks, kRows, reinterpret_cast<Wide*>(stage), ticket);
}

// What of the plan depends on the tile and on shared memory.
template <int kPixels, int kColumns>
void cut(InputGradientPlan& plan, int64_t images) {
  plan.log_tile_width = kPixels == 64 || plan.width <= 8 ? 3 : 4;
  plan.tile_width = 1 << plan.log_tile_width;
  plan.tile_height = kPixels / plan.tile_width;
  plan.tiles_down = (plan.height + plan.tile_height - 1) / plan.tile_height;
  plan.tiles_across = (plan.width + plan.tile_width - 1) / plan.tile_width;
  const int64_t tiles = images * plan.tiles_down * plan.tiles_across;
  require(tiles <= INT32_MAX, "a convolution of ", tiles, " tiles");
  plan.tiles = static_cast<int>(tiles);
  plan.halo_height = (plan.tile_height + plan.kernel_height - 2) / plan.stride + 1;
  plan.halo_width = (plan.tile_width + plan.kernel_width - 2) / plan.stride + 1;

  const int pixels = plan.halo_height * plan.halo_width + 1;
  int gradient_words = 0, tap_words = 0;
  for (plan.chunk = std::min(64, plan.out_channels); plan.chunk >= 16; plan.chunk -= 16) {
    plan.pitch = plan.chunk / 2 + 4;
    gradient_words = pixels * plan.pitch;
    tap_words = plan.chunk / 2 * kColumns;
    if (gradient_words + tap_words <= kStageWords) break;
  }
  require(plan.chunk >= 16, "a kernel of ", plan.kernel_height, " x ", plan.kernel_width,
          " is too large for the fused input gradient");
  const int both = std::max(gradient_words, kPixels * kProductPitch<kColumns>);
  plan.weights_stay = plan.chunk == plan.out_channels && both + plan.taps * tap_words <= kStageWords;
  plan.weight_place = plan.weights_stay ? both : gradient_words;
  plan.taps_at_once = std::min(plan.taps, (kStageWords - plan.weight_place) / tap_words);
}

template <int kPixels, int kColumns>
void run(InputGradientPlan plan, const ConvolutionOutputGradient& gy, const Quantized& w, ValueGradient& gradient) {
  static_assert(kPixels * kProductPitch<kColumns> <= kStageWords && kFinishRoom<kPack> * 2 <= kStageWords);
  cut<kPixels, kColumns>(plan, gradient.out.size(0));
  // About as many blocks as run at once, with as many tiles each: the last one reads all partial sums alone.
  const int most = std::clamp(16384 / plan.channels, 64, 256), rounds = (plan.tiles + most - 1) / most;
  const dim3 grid(static_cast<unsigned>((plan.tiles + rounds - 1) / rounds),
                  static_cast<unsigned>((plan.channels + kColumns - 1) / kColumns));
  const size_t reads = gy.computed ? gy.computed->g.bytes() + bytes_read(gy.computed->x) : gy.stored.bytes();
  const size_t stores = gy.computed && gy.stored.defined() ? gy.stored.bytes() : 0;
  with_norms(gradient, [&](auto norms) {
    constexpr int kNorms = decltype(norms)::value;
    PartialSums<kNorms> room(grid, plan.channels);
    launch({"input gradient", reads + w.codes.bytes() + bytes_read(gradient), stores + gradient.out.bytes()},
           input_gradient_kernel<kPixels, kColumns, kNorms>, grid, plan, OutputGradientArrays(gy),
           input<int8_t>(w.codes), input<float>(w.step),
           ValueGradientArrays<kNorms>(gradient, room.sums.data(), room.alpha.data()), Context::get().ticket());
  });
}

InputGradientPlan plan_of(const Shape& x, const Shape& w, const Shape& y, const Conv2dGeometry& geometry) {
  const auto narrow = [](int64_t size) { return static_cast<int>(size); };
  InputGradientPlan plan{};
  plan.height = narrow(x[1]), plan.width = narrow(x[2]), plan.channels = narrow(x[3]);
  plan.out_height = narrow(y[1]), plan.out_width = narrow(y[2]), plan.out_channels = narrow(y[3]);
  plan.kernel_height = narrow(w[1]), plan.kernel_width = narrow(w[2]);
  plan.taps = plan.kernel_height * plan.kernel_width;
  plan.stride = narrow(geometry.stride), plan.padding = narrow(geometry.padding);
  return plan;
}

}  // namespace

void launch_input_gradient(const ConvolutionOutputGradient& gy, const Quantized& w, const Conv2dGeometry& geometry,
                           ValueGradient& gradient) {
  check_value_gradient(gradient);
  const Shape &x = gradient.out.shape(), &y = gy.shape(), &weight = w.codes.shape();
  require(x.rank() == 4 && geometry.groups == 1 && x[3] % 16 == 0 && y[3] % 16 == 0 &&
              weight == Shape{y[3], weight[1], weight[2], x[3]} && y[0] == x[0] &&
              y[1] == geometry.output_size(x[1], weight[1]) && y[2] == geometry.output_size(x[2], weight[2]),
          "no input gradient ", x, " of a convolution with weights ", weight, " and outputs ", y);
  require(!gy.computed || !gy.stored.defined() || gy.stored.shape() == y, "dy is stored as ", gy.stored.shape());
  require(!gy.computed || (gy.computed->x.shape() == y && gy.computed->coefficients.shape() == Shape{y[3], 3}), "dy ",
          y, " of a batch norm's input ", gy.computed ? gy.computed->x.shape() : y);
  require(!gy.computed || y[3] <= kFusedChannels, "dy of ", y[3], " channels is computed on the way");
  require(geometry.padding < weight[1] && geometry.padding < weight[2], "outputs that see nothing but padding");
  const InputGradientPlan plan = plan_of(x, weight, y, geometry);
  if (plan.channels <= 16)
    run<128, 16>(plan, gy, w, gradient);
  else if (plan.channels <= 32)
    run<128, 32>(plan, gy, w, gradient);
  else if (plan.height <= 8 && plan.width <= 8)
    run<64, 64>(plan, gy, w, gradient);
  else
    run<128, 64>(plan, gy, w, gradient);
}

}  // namespace apotnet::cuda
