// The gradient of a convolution of codes with respect to its input, and on through what the input was made of.
#include "core/kernels/cuda/step/input_gradient.h"

namespace apotnet::cuda {
namespace {

// Channels of a thread side by side.
constexpr int kPack = 4;

// All products of a tile.
template <typename Share, int kPixels, int kColumns, int kBatch, typename Plan>
__device__ void multiply_tile(const Plan& plan, const InputTile& tile, const OutputGradientArrays& gy,
                              const float* coefficients, float step, const int8_t* codes, bool weights_are_there,
                              Word* stage, float (&sums)[Share::kRows][Share::kTiles][4]) {
  Word* const weights = stage + plan.weight_place;
  for (int first = 0; first < plan.outputs; first += plan.chunk) {
    const int count = min(plan.chunk, plan.outputs - first);
    __syncthreads();  // the stage may still be read
    stage_gradient<kBatch>(plan, tile, gy, coefficients, step, first, count, stage);
    for (int tap = 0; tap < plan.taps(); tap += plan.taps_at_once) {
      const int taps = plan.taps_from(tap);
      if (tap > 0) __syncthreads();
      if (!weights_are_there) stage_weights<kColumns>(plan, codes, tap, taps, first, count, weights);
      __syncthreads();
      multiply_taps<Share, kPixels>(plan, tile, tap, taps, count, stage, weights, sums);
    }
  }
}

template <typename Plan, int kPixels, int kColumns, int kNorms>
__global__ void __launch_bounds__(kThreads, 2)
    input_gradient_kernel(Plan plan, OutputGradientArrays gy, const int8_t* codes, const float* step,
                          ValueGradientArrays<kNorms> gradient, unsigned* ticket) {
  using Share = WarpShare<kPixels, kColumns>;
  using TermQuad = Pack<float, 4>;
  constexpr int kTurns = 2 * Share::kRows;
  // How many reads of dy are on their way at once: as registers allow.
  constexpr int kBatch = Plan::kUnrolled == 1 || kNorms == 2 ? 1 : 4 - Share::kGroups;
  SHARED_ARRAY(Quad, stage, kStageWords / 4);
  SHARED_ARRAY(TermQuad, terms, kTerms * kColumns / 4);
  SHARED_ARRAY(CoefficientQuad, coefficients, kCoefficientQuads);
  SHARED_ARRAY(float, table, kTableSize);
  const Share share;
  const int first = static_cast<int>(blockIdx.y) * kColumns, columns = min(kColumns, plan.channels - first);
  const ValuePass<kNorms> pass(gradient, first, columns, terms[0].values, kColumns, table);
  prepare_coefficients(gy, plan.outputs, coefficients[0].values);
  const float w_step = step[0], x_step = gy.x.step();

  ValueSums<kPack, kNorms> sums[Share::kGroups] = {};
  const int begin = static_cast<int>(blockIdx.x) * plan.rounds, end = min(begin + plan.rounds, plan.tiles);
  InputTile tile = InputTile::of(plan, begin);
  for (int number = begin; number < end; ++number, tile.advance(plan)) {
    // The element of a turn, below 0 where there is none.
    const auto element = [&](int i, int column) -> int64_t {
      const TilePixel pixel = pixel_of<kPixels>(plan, share.first_pixel(0) + i * 8 + share.lane / 4);
      const int y = tile.top + pixel.row, x = tile.left + pixel.column;
      if (y >= plan.height || x >= plan.width || column >= columns) return -1;
      return ((int64_t{tile.image} * plan.height + y) * plan.width + x) * plan.channels + first + column;
    };
    float own[Share::kRows][Share::kTiles][4] = {};
    multiply_tile<Share, kPixels, kColumns, kBatch>(plan, tile, gy, coefficients[0].values, x_step, codes,
                                                    plan.weights_stay && number > begin, stage[0].values, own);
    int64_t next = element(0, share.column());
    auto ahead = pass.template fetch<kPack>(next);
#pragma unroll
    for (int group = 0; group < Share::kGroups; ++group) {
      Pack<float, kPack> rest[kTurns];  // of the pixels whose turn it is next: one copy of the steps serves all
      for (int i = 0; i < kTurns; ++i)
        for (int j = 0; j < kPack; ++j) rest[i][j] = own[i / 2][2 * group + j / 2][i % 2 * 2 + j % 2];
      const int column = group * Share::kGroup + share.column();
#pragma unroll 1
      for (int i = 0; i < kTurns; ++i) {
        const int64_t current = next;
        const auto fetched = ahead;
        next = i + 1 < kTurns ? element(i + 1, column) : element(0, column + Share::kGroup);
        ahead = pass.template fetch<kPack>(next);
        for (int j = 0; j < kPack; ++j) rest[0][j] *= w_step;
        if (current >= 0) pass(rest[0], fetched, current, column, sums[group]);
        for (int later = 1; later < kTurns; ++later) rest[later - 1] = rest[later];
      }
    }
  }
  __syncthreads();
  finish_value_gradient(gradient, sums, plan.channels, first, Share::kGroup / kPack, share.place(),
                        reinterpret_cast<Wide*>(stage), ticket);
}

template <typename Plan, int kPixels, int kColumns, int kNorms>
void run(Plan plan, const ConvolutionOutputGradient& gy, const Quantized& w, ValueGradient& gradient) {
  constexpr int kGroups = WarpShare<kPixels, kColumns>::kGroups;
  static_assert(kFinishRoom<kPack, kNorms, kGroups> * sizeof(Wide) <= kStageWords * sizeof(Word));
  plan.tiles_down = (plan.height + plan.tile_height - 1) / plan.tile_height;
  plan.tiles_across = (plan.width + plan.tile_width - 1) / plan.tile_width;
  const int64_t tiles = gradient.out.size(0) * plan.tiles_down * plan.tiles_across;
  require(tiles <= INT32_MAX, "a convolution of ", tiles, " tiles");
  plan.tiles = static_cast<int>(tiles);
  // About as many blocks as run at once, with as many tiles each: the last one reads all partial sums alone.
  const int most = std::clamp(16384 / plan.channels, 64, 256);
  plan.rounds = (plan.tiles + most - 1) / most;
  const dim3 grid(static_cast<unsigned>((plan.tiles + plan.rounds - 1) / plan.rounds),
                  static_cast<unsigned>((plan.channels + kColumns - 1) / kColumns));
  const size_t reads = gy.computed ? gy.computed->g.bytes() + bytes_read(gy.computed->x) : gy.stored.bytes();
  const size_t stores = gy.computed && gy.stored.defined() ? gy.stored.bytes() : 0;
  PartialSums<kNorms> room(grid, plan.channels);
  launch({"input gradient", reads + w.codes.bytes() + bytes_read(gradient), stores + gradient.out.bytes()},
         input_gradient_kernel<Plan, kPixels, kColumns, kNorms>, grid, plan, OutputGradientArrays(gy),
         input<int8_t>(w.codes), input<float>(w.step),
         ValueGradientArrays<kNorms>(gradient, room.sums.data(), room.alpha.data()), Context::get().ticket());
}

template <int kPixels, int kColumns, int kChannels, int kNorms>
bool run_square(InputGradientPlan plan, const ConvolutionOutputGradient& gy, const Quantized& w,
                ValueGradient& gradient) {
  using Square = SquarePlan<kPixels, kColumns, kChannels>;
  if (!Square::fits(plan)) return false;
  cut<kPixels, kColumns>(plan);  // as Square has it
  run<Square, kPixels, kColumns, kNorms>(Square{plan}, gy, w, gradient);
  return true;
}

// False where the kernel is too large for such tiles.
template <int kPixels, int kColumns, int kNorms>
bool run_any(InputGradientPlan plan, const ConvolutionOutputGradient& gy, const Quantized& w, ValueGradient& gradient) {
  cut<kPixels, kColumns>(plan);
  if (plan.chunk < 16) return false;
  run<InputGradientPlan, kPixels, kColumns, kNorms>(plan, gy, w, gradient);
  return true;
}

InputGradientPlan plan_of(const ConvolutionSizes& sizes) {
  InputGradientPlan plan{};
  static_cast<ConvolutionSizes&>(plan) = sizes;
  return plan;
}

}  // namespace

bool fits_input_gradient(const ConvolutionSizes& sizes) {
  InputGradientPlan plan = plan_of(sizes);
  cut<64, 32>(plan);  // the smallest tiles
  return plan.chunk >= 16 && sizes.padding < sizes.kernel_height && sizes.padding < sizes.kernel_width;
}

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
  const ConvolutionSizes sizes = sizes_of(x, weight, geometry);
  require(fits_input_gradient(sizes), "a convolution ", weight, " padded by ", geometry.padding,
          " does not fit the fused input gradient");
  const InputGradientPlan plan = plan_of(sizes);
  with_norms(gradient, [&](auto norms) {
    // The sums of two batch norms for 32 columns of 128 pixels are more than the registers hold.
    constexpr int kNorms = decltype(norms)::value, kMedium = kNorms == 2 ? 64 : 128;
    if (run_square<256, 16, 16, kNorms>(plan, gy, w, gradient) ||
        run_square<kMedium, 32, 32, kNorms>(plan, gy, w, gradient) ||
        run_square<64, 32, 64, kNorms>(plan, gy, w, gradient))
      return;
    const bool is_small = plan.channels > 16 && plan.height <= 8 && plan.width <= 8;
    if (!is_small && (kNorms == 2 || plan.channels <= 16 ? run_any<256, 16, kNorms>(plan, gy, w, gradient)
                                                         : run_any<128, 32, 1>(plan, gy, w, gradient)))
      return;
    run_any<64, 32, kNorms>(plan, gy, w, gradient);
  });
}

}  // namespace apotnet::cuda
