// Convolutions of codes on tensor cores: codes as they are stored, or rounded from values on the way.
#include "core/kernels/cuda/step/code_tile.h"

namespace apotnet::cuda {
namespace {

// Where the box of a tile comes from. prepare() is called by all threads before a barrier, for the channels of the next
// stage; stage() after it fills the box. kAhead: there are registers for reading what comes next meanwhile.
struct StoredCodes {
  static constexpr bool kPrepares = false;
  static constexpr int kTerms = 1, kTable = 1;
  const uint8_t* codes;

  __device__ void begin(uint8_t*) const {}
  __device__ void prepare(const TilePlan&, int, ChannelNorm*) const {}
  template <bool kAhead>
  __device__ void stage(const TilePlan& plan, const Tile& tile, int first_channel, const ChannelNorm*, const uint8_t*,
                        uint8_t* box) const {
    const int count = (plan.box_height * plan.box_width) << plan.unit_shift;
    const int pixel_bytes = TilePlan::pixel_bytes(plan.unit_shift);
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
      const int pixel = i >> plan.unit_shift, unit = i & (plan.units() - 1);
      const int box_row = pixel / plan.box_width, box_column = pixel - box_row * plan.box_width;
      const int row = tile.row + box_row * plan.spread, column = tile.column + box_column * plan.spread;
      Pack<Word, 4> pack{};
      if (row >= 0 && row < plan.height && column >= 0 && column < plan.width) {
        const int64_t place = (int64_t{tile.image} * plan.height + row) * plan.width + column;
        pack = load<4>(reinterpret_cast<const Word*>(codes + place * plan.channels + first_channel + unit * 16), 0);
      }
      store(reinterpret_cast<Word*>(box + pixel * pixel_bytes + unit * 16), 0, pack);
    }
  }
};

// Values to round (F7). Each is made by every tile whose box it lies in, and stored by the one in charge of it.
struct RoundedValues {
  static constexpr bool kPrepares = true;
  static constexpr int kTerms = 2 * 64, kTable = kTableSize;  // of a stage's channels, for both operands
  ValueArrays value;
  const float* alpha;
  uint8_t* codes;
  float* values;  // null: not stored
  float* step;
  int* trouble;
  Levels levels;

  __device__ void begin(uint8_t* table) const {
    fill_table(levels, table);
    store_step(alpha, levels, step, trouble);
  }
  __device__ void prepare(const TilePlan& plan, int first_channel, ChannelNorm* terms) const {
    prepare_norm(value.a, first_channel, 16 << plan.unit_shift, terms);
    prepare_norm(value.b, first_channel, 16 << plan.unit_shift, terms + kTerms / 2);
  }
  template <bool kAhead>
  __device__ void stage(const TilePlan& plan, const Tile& tile, int first_channel, const ChannelNorm* terms,
                        const uint8_t* table, uint8_t* box) const {
    constexpr int N = 8;
    // A thread keeps to its channels, so it can hold their terms.
    const int shift = plan.unit_shift + 1, thread = static_cast<int>(threadIdx.x), group = thread & ((1 << shift) - 1);
    const auto norms = ValueArrays::Terms<N>::of(value, terms + group * N, terms + kTerms / 2 + group * N);
    const ClippedQuotient quotient(alpha[0]);
    const float step_a = value.a.step(), step_b = value.b.step();
    const int pixel_bytes = TilePlan::pixel_bytes(plan.unit_shift);
    const int width = max((plan.box_width - 1) * plan.spread + 1, tile.end_column - tile.column);
    const int height = max((plan.box_height - 1) * plan.spread + 1, tile.end_row - tile.row);
    const int corner = (tile.image * plan.height + tile.row) * plan.width + tile.column;
    // From pixel to pixel, without a division for each.
    const int pixels = kThreads >> shift, rows = pixels / width, columns = pixels - rows * width;
    int y = (thread >> shift) / width, x = (thread >> shift) - y * width;
    struct Item {
      int64_t i;  // its first element; below 0 where nothing is to be rounded
      int place;  // in the box; below 0 where it is not in there
      bool in_charge;
    };
    const auto item_at = [&](int down, int across) {
      const int row = tile.row + down, column = tile.column + across;
      const int box_row = plan.spread == 1 ? down : down / plan.spread,
                box_column = plan.spread == 1 ? across : across / plan.spread;
      const bool in_box = box_row < plan.box_height && box_column < plan.box_width && box_row * plan.spread == down &&
                          box_column * plan.spread == across;
      const bool inside = row >= 0 && row < plan.height && column >= 0 && column < plan.width;
      Item item{-1, in_box ? (box_row * plan.box_width + box_column) * pixel_bytes + group * N : -1,
                inside && row < tile.end_row && column < tile.end_column};
      if (down < height && inside && (in_box || item.in_charge))
        item.i = int64_t{corner + down * plan.width + across} * plan.channels + first_channel + group * N;
      return item;
    };
    const auto fetch = [&](const Item& item) {
      return item.i < 0 ? ValueArrays::Fetched<N>{} : value.template fetch<N>(item.i);
    };
    Item item = item_at(y, x);
    auto ahead = kAhead ? fetch(item) : ValueArrays::Fetched<N>{};
#pragma unroll 1
    while (y < height) {
      const Item own = item;
      const auto fetched = kAhead ? ahead : fetch(own);
      x += columns;
      y += rows;
      if (x >= width) x -= width, ++y;
      item = item_at(y, x);
      if (kAhead) ahead = fetch(item);
      Pack<Word, N / 4> rounded{};
      if (own.i >= 0) {
        const Pack<float, N> found = value.finish_fetched(fetched, own.i, norms, step_a, step_b);
        if (own.in_charge && values) store_whole(values, own.i, found);
        for (int j = 0; j < N; ++j)
          rounded[j / 4] += Word{project<uint8_t>(quotient(found[j]), levels, table)} << (j % 4 * 8);
        if (own.in_charge) store_whole(reinterpret_cast<Word*>(codes + own.i), 0, rounded);
      }
      if (own.place >= 0) store(reinterpret_cast<Word*>(box + own.place), 0, rounded);
    }
  }
};

// Room for box and weights, such that two blocks fit a multiprocessor of any device.
template <int kOutputs>
inline constexpr int kPoolBytes = kOutputs == 16   ? 16384
                                  : kOutputs == 32 ? 32768
                                                   : 46592;

template <int kOutputs, int kRows, typename Input>
__global__ void __launch_bounds__(kThreads, 2)
    quantize_convolve_kernel(TilePlan plan, Input input, const int8_t* w, SumOutput y, StatisticsArrays statistics,
                             unsigned* ticket) {
  using Layout = WarpLayout<kOutputs>;
  using Vector = Pack<Word, 4>;
  SHARED_ARRAY(Vector, pool, kPoolBytes<kOutputs> / sizeof(Vector));
  SHARED_ARRAY(int, offsets, TilePlan::kMostUnits);
  SHARED_ARRAY(ChannelNorm, terms, Input::kTerms);
  SHARED_ARRAY(uint8_t, table, Input::kTable);
  const Tile tile = Tile::of(plan);
  uint8_t* const box = reinterpret_cast<uint8_t*>(pool);
  uint8_t* const weights = box + plan.box_height * plan.box_width * TilePlan::pixel_bytes(plan.unit_shift);

  int32_t sums[kRows][Layout::kColumns][4] = {};
  input.begin(table);
  for (int channel = 0; channel < plan.channels; channel += 16 << plan.unit_shift)
    for (int tap = 0; tap < plan.taps(); tap += plan.stage_taps) {
      const int taps = min(plan.stage_taps, plan.taps() - tap);
      if (channel + tap > 0) __syncthreads();  // the stage before is still multiplied
      if (tap == 0) input.prepare(plan, channel, terms);
      stage_weights<kOutputs>(plan, w, channel, tap, taps, weights, offsets);
      if (Input::kPrepares) __syncthreads();
      if (tap == 0) input.template stage<kRows * Layout::kColumns <= 4>(plan, tile, channel, terms, table, box);
      __syncthreads();
      multiply_stage<kOutputs, kRows>(plan, taps << plan.unit_shift, box, weights, offsets, sums);
    }

  __syncthreads();
  auto* const totals = reinterpret_cast<int64_t*>(pool);
  store_tile<kOutputs, kRows>(plan, tile, sums, y, totals);
  __syncthreads();
  add_totals<kOutputs>(plan, totals, statistics);
  if (!last_block(ticket)) return;
  for (int c = static_cast<int>(threadIdx.x); c < plan.outputs; c += kThreads)
    statistics.finish(c, y.step_a[0] * y.step_b[0]);
}

template <int kOutputs, int kRows, typename Input>
void launch_plan(const Node& node, const TilePlan& plan, const Input& input, const Quantized& w, const SumOutput& y,
                 const StatisticsArrays& statistics) {
  const dim3 grid(static_cast<unsigned>(plan.blocks()),
                  static_cast<unsigned>((plan.outputs + kOutputs - 1) / kOutputs));
  launch(node, quantize_convolve_kernel<kOutputs, kRows, Input>, grid, plan, input,
         apotnet::cuda::input<int8_t>(w.codes), y, statistics, Context::get().ticket());
}

template <int kOutputs>
std::optional<TilePlan> plan_for(const ConvolutionSizes& sizes, int capacity) {
  return TilePlan::of(sizes, capacity, kOutputs, kPoolBytes<kOutputs>);
}

// Calls f with the outputs of a block, as a type.
template <typename F>
auto with_outputs(int64_t outputs, F&& f) {
  if (outputs <= 16) return f(std::integral_constant<int, 16>{});
  if (outputs <= 32) return f(std::integral_constant<int, 32>{});
  return f(std::integral_constant<int, 64>{});
}

// Large tiles read less twice; small ones where that leaves too few blocks for a large device, or wastes fewer pixels.
template <int kOutputs, typename Input>
void launch_outputs(const Node& node, const Shape& x, const Input& input, const Quantized& w,
                    const Conv2dGeometry& geometry, Sums& y, StatisticsOutput& statistics) {
  using Layout = WarpLayout<kOutputs>;
  constexpr int kFewBlocks = 256, kSmall = Layout::capacity(1), kLarge = Layout::capacity(2);
  const ConvolutionSizes sizes = sizes_of(x, w.shape(), geometry);
  require(y.shape() == Shape{x[0], sizes.out_height, sizes.out_width, w.shape()[0]}, "sums of shape ", y.shape(),
          " for a convolution ", w.shape(), " of ", x);
  const auto large = plan_for<kOutputs>(sizes, kLarge), small = plan_for<kOutputs>(sizes, kSmall);
  require(large && small, "a convolution ", w.shape(), " of ", x, " does not fit a CUDA block's shared memory");
  const SumOutput sums(y);
  const StatisticsArrays arrays(statistics, y.shape().elements());
  if (large->blocks() >= kFewBlocks && large->cost(kLarge) <= small->cost(kSmall))
    launch_plan<kOutputs, 2>(node, *large, input, w, sums, arrays);
  else
    launch_plan<kOutputs, 1>(node, *small, input, w, sums, arrays);
}

template <typename Input>
void launch_convolution(const Node& node, const Shape& x, const Input& input, const Quantized& w,
                        const Conv2dGeometry& geometry, Sums& y, StatisticsOutput& statistics) {
  const int64_t channels = x[3], outputs = w.shape()[0];
  require(channels % 16 == 0 && outputs % 16 == 0 && geometry.groups == 1 && w.shape()[3] == channels,
          "a convolution of codes on tensor cores got weights ", w.shape(), " for an input ", x);
  require(x.elements() / channels <= INT32_MAX, "a convolution of codes of ", x.elements() / channels, " pixels");
  with_outputs(outputs, [&](auto of_block) {
    launch_outputs<decltype(of_block)::value>(node, x, input, w, geometry, y, statistics);
  });
}

// Sums beyond 16 bits and their reading are not counted: nobody knows how many there are.
Node node_of(std::string_view name, size_t reads, size_t writes, const Quantized& w, const Sums& y,
             const StatisticsOutput& statistics) {
  const size_t running = statistics.running_mean.defined() ? 2 * statistics.running_mean.bytes() : 0;
  const size_t both = statistics.accumulators.bytes() + running;
  return {name, reads + w.codes.bytes() + both, writes + y.narrow.bytes() + 2 * statistics.mean.bytes() + both};
}

}  // namespace

bool fits_convolution(const ConvolutionSizes& sizes) {
  return with_outputs(sizes.outputs, [&](auto of_block) {
    constexpr int kOutputs = decltype(of_block)::value;
    return plan_for<kOutputs>(sizes, WarpLayout<kOutputs>::capacity(1)).has_value();
  });
}

void launch_convolve_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Sums& y,
                           StatisticsOutput& statistics) {
  y.step_a = x.step;
  y.step_b = w.step;
  launch_convolution(node_of("convolve codes", x.codes.bytes(), 0, w, y, statistics), x.shape(),
                     StoredCodes{input<uint8_t>(x.codes)}, w, geometry, y, statistics);
}

void launch_quantize_and_convolve(QuantizedConvolution& convolution) {
  auto& [x, values, w, geometry, y, statistics] = convolution;
  require(w.shape()[0] <= kFusedChannels, "a convolution that quantizes its input got ", w.shape()[0], " outputs");
  y.step_a = x.codes.step;
  y.step_b = w.step;
  const size_t writes = x.codes.codes.bytes() + (values.defined() ? values.bytes() : 0);
  launch_convolution(node_of("quantize and convolve", bytes_read(x.value), writes, w, y, statistics), x.value.shape(),
                     RoundedValues{ValueArrays(x.value), input<float>(x.alpha), output<uint8_t>(x.codes.codes),
                                   values.defined() ? output<float>(values) : nullptr, output<float>(x.codes.step),
                                   Context::get().trouble(), Levels(*x.codes.levels)},
                     w, geometry, y, statistics);
}

}  // namespace apotnet::cuda
