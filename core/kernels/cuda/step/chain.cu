// Several convolutions of codes in one launch, each rounded from what the one before has left: an image to a block.
#include "core/kernels/cuda/step/chain.h"

#include "core/kernels/cuda/grid_barrier.h"
#include "core/kernels/cuda/step/code_tile.h"

namespace apotnet::cuda {
namespace {

using Vector = Pack<Word, 4>;

// Shared memory for codes and weights.
constexpr int kPoolBytes = 46592;
// Room for the terms of a batch norm; those of a projection's come behind.
constexpr int kTerms = 64;

// How a block holds an image of so many channels: kRows times 16 pixels a warp, and of these a lane 2 kRows packs of
// channels side by side (WarpLayout).
template <int kChannels>
struct ImageLayout : WarpLayout<kChannels> {
  static constexpr int kRows = kChannels == 16 ? 8 : kChannels == 32 ? 2 : 1;
  static constexpr int kRowsAtOnce = std::min(kRows, 2);  // in a product: each takes four registers more
  static constexpr int kPixels = WarpLayout<kChannels>::capacity(kRows);
};

// Calls f(i, pixel, row, column) for the lane's packs, of an image of so many pixels.
template <int kChannels, typename F>
__device__ void for_each_pack(int width, int pixels, F&& f) {
  constexpr int kRows = ImageLayout<kChannels>::kRows;
  const WarpLayout<kChannels> warp;
  int pixel = warp.down * kRows * 16 + warp.lane / 4;
  int row = pixel / width, column = pixel - row * width;
#pragma unroll
  for (int i = 0; i < 2 * kRows; ++i) {
    if (pixel < pixels) f(i, pixel, row, column);
    pixel += 8;
    column += 8;
    while (column >= width) column -= width, ++row;
  }
}

// What a lane has of an image.
template <int kChannels>
using LaneSums = int32_t[ImageLayout<kChannels>::kRows][WarpLayout<kChannels>::kColumns][4];
template <int kChannels>
using LanePack = Pack<float, WarpLayout<kChannels>::kLaneOutputs>;
template <int kChannels>
struct Held {
  LaneSums<kChannels> sums;                                     // of the last convolution
  float step;                                                   // of these
  LanePack<kChannels> kept[2 * ImageLayout<kChannels>::kRows];  // the value that the next shortcut adds
};

template <typename T, int kChannels>
__device__ Pack<T, WarpLayout<kChannels>::kLaneOutputs> pack_of(const LaneSums<kChannels>& sums, int i) {
  Pack<T, WarpLayout<kChannels>::kLaneOutputs> pack;
  for (int j = 0; j < WarpLayout<kChannels>::kLaneOutputs; ++j)
    pack[j] = static_cast<T>(sums[i / 2][j / 2][i % 2 * 2 + j % 2]);
  return pack;
}

// ChainLink on the device.
struct Link {
  TilePlan plan;
  bool adds, keeps, projects;  // projects: the next link has the same value
  bool ends;                   // nobody goes on from its sums
  const float* alpha;
  float* x_step;
  uint8_t* codes;
  float* values;  // null: not stored
  const int8_t* w;
  SumOutput y;
  StatisticsArrays statistics;
  const float *gamma, *beta;  // of the batch norm behind it; null: no such thing
  Wide epsilon;

  Link(ChainLink& link, bool projects_, bool ends_)
      : plan(link.plan),
        adds(link.adds),
        keeps(link.keeps),
        projects(projects_),
        ends(ends_),
        alpha(input<float>(link.convolution.x.alpha)),
        x_step(output<float>(link.convolution.x.codes.step)),
        codes(output<uint8_t>(link.convolution.x.codes.codes)),
        values(link.convolution.values.defined() ? output<float>(link.convolution.values) : nullptr),
        w(input<int8_t>(link.convolution.w.codes)),
        y(link.convolution.y),
        statistics(link.convolution.statistics, link.convolution.y.shape().elements()),
        gamma(link.norm ? input<float>(link.norm->gamma) : nullptr),
        beta(link.norm && link.norm->beta.defined() ? input<float>(link.norm->beta) : nullptr),
        epsilon(link.norm ? Wide::of(link.norm->epsilon) : Wide{}) {}

  // Of its sums; x_step is only being written.
  __device__ float step(const Levels& levels) const { return alpha[0] / static_cast<float>(levels.k) * y.step_b[0]; }
};

struct Chain {
  static constexpr size_t kArgumentBytes = CUDART_VERSION >= 12010 ? 32764 : 4096, kOtherArguments = 128;
  static constexpr size_t kMost =
      (kArgumentBytes - kOtherArguments - sizeof(ValueArrays) - sizeof(Levels)) / sizeof(Link);

  ValueArrays first;  // what the first link rounds
  Levels levels;
  int count;
  union {  // without a constructor for each
    Link links[kMost];
  };

  Chain(const Value& value, const LevelSet& set) : first(value), levels(set), count(0) {}
};

// Everything that a block has in shared memory.
struct Room {
  uint8_t* pool;
  int* offsets;
  ChannelNorm* terms;
  uint8_t* table;

  __device__ uint8_t* box() const { return pool; }
  __device__ uint8_t* weights(const TilePlan& plan) const {
    return pool + plan.box_height * plan.box_width * TilePlan::pixel_bytes(plan.unit_shift);
  }
  __device__ int64_t* totals() const { return reinterpret_cast<int64_t*>(pool); }
};

// Weights of a link in shared memory, and zeros all over the box. A barrier comes before and after.
__device__ void prepare(const Link& link, const Room& room) {
  const TilePlan& plan = link.plan;
  uint8_t* const weights = room.weights(plan);
  for (int64_t i = static_cast<int>(threadIdx.x) * 16; i < weights - room.box(); i += kThreads * 16)
    store(reinterpret_cast<Word*>(room.box() + i), 0, Vector{});
  if (plan.outputs == 16) stage_weights<16>(plan, link.w, 0, 0, plan.taps(), weights, room.offsets);
  if (plan.outputs == 32) stage_weights<32>(plan, link.w, 0, 0, plan.taps(), weights, room.offsets);
  if (plan.outputs == 64) stage_weights<64>(plan, link.w, 0, 0, plan.taps(), weights, room.offsets);
}

// The value of the first link, out of memory.
template <int kChannels>
__device__ void read_first(const Chain& chain, const Room& room, Held<kChannels>& held) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const TilePlan& plan = chain.links[0].plan;
  const int channel = WarpLayout<kChannels>().first_output(), pixels = plan.height * plan.width;
  const auto norms = ValueArrays::Terms<N>::of(chain.first, room.terms + channel, room.terms + kTerms + channel);
  const float step_a = chain.first.a.step(), step_b = chain.first.b.step();
  const int first = static_cast<int>(blockIdx.x) * pixels * kChannels + channel;
  for_each_pack<kChannels>(plan.width, pixels, [&](int i, int pixel, int, int) {
    const int place = first + pixel * kChannels;
    held.kept[i] = chain.first.finish_fetched(chain.first.fetch<N>(place), place, norms, step_a, step_b);
  });
}

// Rounds a link's value into its box, and stores the codes. The value is the one kept, or made of the sums.
template <int kChannels>
__device__ void round_value(const Chain& chain, const Link& link, const Room& room, bool is_kept,
                            Held<kChannels>& held) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const TilePlan& plan = link.plan;
  const int channel = WarpLayout<kChannels>().first_output(), pixels = plan.height * plan.width;
  const int pixel_bytes = TilePlan::pixel_bytes(plan.unit_shift);
  const int first = static_cast<int>(blockIdx.x) * pixels * kChannels + channel;  // all images fit the device
  const ClippedQuotient quotient(link.alpha[0]);
  LanePack<kChannels> scale, shift;
  for (int j = 0; j < N; ++j) scale[j] = room.terms[channel + j].scale, shift[j] = room.terms[channel + j].shift;
  for_each_pack<kChannels>(plan.width, pixels, [&](int i, int pixel, int row, int column) {
    LanePack<kChannels> value = held.kept[i];
    if (!is_kept) {
      const LanePack<kChannels> sums = pack_of<float, kChannels>(held.sums, i);
      for (int j = 0; j < N; ++j) {
        const float normalised = sums[j] * held.step * scale[j] + shift[j];
        value[j] = link.adds ? normalised + value[j] : normalised;
      }
      rectify(value);
      if (link.keeps) held.kept[i] = value;
    }
    const int place = first + pixel * kChannels;
    if (link.values) store_whole(link.values, place, value);
    Pack<Word, N / 4> codes{};
    for (int j = 0; j < N; ++j)
      codes[j / 4] |= Word{project<uint8_t>(quotient(value[j]), chain.levels, room.table)} << (j % 4 * 8);
    store_whole(reinterpret_cast<Word*>(link.codes + place), 0, codes);
    const int down = row + plan.padding, across = column + plan.padding;
    int box_row = down, box_column = across;
    if (plan.spread != 1) {
      box_row = down / plan.spread;
      box_column = across / plan.spread;
      if (box_row * plan.spread != down || box_column * plan.spread != across) return;
    }
    if (box_row < plan.box_height && box_column < plan.box_width)
      store(reinterpret_cast<Word*>(room.box() + (box_row * plan.box_width + box_column) * pixel_bytes + channel), 0,
            codes);
  });
}

// sums = box times weights.
template <int kOutputs>
__device__ void multiply(const Link& link, const Room& room, LaneSums<kOutputs>& sums) {
  using Layout = ImageLayout<kOutputs>;
  const TilePlan& plan = link.plan;
  for (auto& row : sums)
    for (auto& column : row)
      for (int32_t& sum : column) sum = 0;
#pragma unroll
  for (int first = 0; first < Layout::kRows; first += Layout::kRowsAtOnce)
    multiply_stage<kOutputs, Layout::kRowsAtOnce, Layout::kRows>(plan, plan.taps() << plan.unit_shift, room.box(),
                                                                 room.weights(plan), room.offsets, sums + first, first);
}

// Stores the sums and adds them to the statistics of the batch.
template <int kOutputs>
__device__ void write_sums(const Link& link, const Room& room, const LaneSums<kOutputs>& sums) {
  const TilePlan& plan = link.plan;
  const int pixels = plan.out_height * plan.out_width, channel = WarpLayout<kOutputs>().first_output();
  const int first = static_cast<int>(blockIdx.x) * pixels * kOutputs + channel;
  LaneTotals<kOutputs> totals;
  for_each_pack<kOutputs>(plan.out_width, pixels, [&](int i, int pixel, int, int) {
    const auto pack = pack_of<int32_t, kOutputs>(sums, i);
    totals.add(pack);
    store_sums(link.y.narrow, link.y.wide, first + pixel * kOutputs, pack);
  });
  __syncthreads();  // box and weights have been read
  totals.store(room.totals());
  __syncthreads();
  add_totals<kOutputs>(link.plan, room.totals(), link.statistics);
}

// What the batch norm behind a link does, when all blocks have added to its statistics.
__device__ void make_terms(const Chain& chain, const Link& link, ChannelNorm* terms) {
  for (int c = static_cast<int>(threadIdx.x); c < link.plan.outputs; c += kThreads) {
    const StatisticsArrays::Moments moments = link.statistics.moments(c, link.step(chain.levels));
    if (blockIdx.x == 0) link.statistics.store(c, moments);
    if (link.gamma)
      terms[c] =
          ChannelNorm::of(moments.mean, moments.variance, link.gamma[c], link.beta ? link.beta[c] : 0.0f, link.epsilon);
  }
}

// From a link, and its projection, to the one that follows; returns the step of the link's sums.
__device__ float go_on(const Chain& chain, const Link& link, const Link* projection, const Link& next,
                       const Room& room) {
  __syncthreads();  // totals have been read
  prepare(next, room);
  grid_barrier();
  make_terms(chain, link, room.terms);
  if (projection) make_terms(chain, *projection, room.terms + kTerms);
  __syncthreads();
  return link.step(chain.levels);
}

// Links of as many outputs as channels, from `number` on. Returns the number of the link that ends them: it has more
// outputs, and its codes are in the box; or there is none.
template <int kChannels>
__device__ int run_equal(const Chain& chain, const Room& room, int number, Held<kChannels>& held) {
  for (;;) {
    const Link& link = chain.links[number];
    round_value<kChannels>(chain, link, room, number == 0, held);
    __syncthreads();
    if (link.plan.outputs != kChannels) return number;
    multiply<kChannels>(link, room, held.sums);
    write_sums<kChannels>(link, room, held.sums);
    if (++number == chain.count) return number;
    held.step = go_on(chain, link, nullptr, chain.links[number], room);
  }
}

// The link from kChannels to twice as many, whose codes are in the box, and its projection; returns the next one's
// number.
template <int kChannels>
__device__ int run_wider(const Chain& chain, const Room& room, int number, Held<kChannels>& held,
                         Held<2 * kChannels>& next) {
  constexpr int kOutputs = 2 * kChannels, N = WarpLayout<kOutputs>::kLaneOutputs;
  const Link& link = chain.links[number];
  multiply<kOutputs>(link, room, next.sums);
  write_sums<kOutputs>(link, room, next.sums);
  const Link* const projection = link.projects ? &chain.links[++number] : nullptr;
  LaneSums<kOutputs> projected;
  if (projection) {
    __syncthreads();  // totals have been read
    prepare(*projection, room);
    __syncthreads();
    round_value<kChannels>(chain, *projection, room, true, held);
    __syncthreads();
    multiply<kOutputs>(*projection, room, projected);
    write_sums<kOutputs>(*projection, room, projected);
  }
  if (++number == chain.count) return number;
  next.step = go_on(chain, link, projection, chain.links[number], room);
  if (!projection) return number;
  const float step = projection->step(chain.levels);
  const ChannelNorm* const terms = room.terms + kTerms + WarpLayout<kOutputs>().first_output();
#pragma unroll
  for (int i = 0; i < 2 * ImageLayout<kOutputs>::kRows; ++i) {
    next.kept[i] = pack_of<float, kOutputs>(projected, i);
    for (int j = 0; j < N; ++j) next.kept[i][j] = next.kept[i][j] * step * terms[j].scale + terms[j].shift;
  }
  return number;
}

__global__ void __launch_bounds__(kThreads, 1)
    chain_kernel(const __grid_constant__ Chain chain, int* trouble, unsigned* ticket) {
  SHARED_ARRAY(Vector, pool, kPoolBytes / sizeof(Vector));
  SHARED_ARRAY(int, offsets, TilePlan::kMostUnits);
  SHARED_ARRAY(ChannelNorm, terms, 2 * kTerms);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  const Room room{reinterpret_cast<uint8_t*>(pool), offsets, terms, table};
  fill_table(chain.levels, table);
  if (blockIdx.x == 0)
    for (int i = static_cast<int>(threadIdx.x); i < chain.count; i += kThreads)
      store_step(chain.links[i].alpha[0], static_cast<float>(chain.levels.k), chain.links[i].x_step, trouble);
  const int channels = chain.links[0].plan.channels;
  prepare_norm(chain.first.a, 0, channels, terms);
  prepare_norm(chain.first.b, 0, channels, terms + kTerms);
  prepare(chain.links[0], room);
  __syncthreads();

  int number = 0;
  Held<32> middle;
  Held<64> narrow;
  if (channels == 16) {
    Held<16> wide;
    read_first(chain, room, wide);
    number = run_equal(chain, room, number, wide);
    if (number < chain.count) number = run_wider(chain, room, number, wide, middle);
  }
  if (channels == 32) read_first(chain, room, middle);
  if (channels <= 32 && number < chain.count) {
    number = run_equal(chain, room, number, middle);
    if (number < chain.count) number = run_wider(chain, room, number, middle, narrow);
  }
  if (channels == 64) read_first(chain, room, narrow);
  if (number < chain.count) run_equal(chain, room, number, narrow);

  if (!last_block(ticket)) return;
  for (int i = 0; i < chain.count; ++i) {
    const Link& link = chain.links[i];
    for (int c = static_cast<int>(threadIdx.x); c < link.plan.outputs; c += kThreads)
      if (link.ends)
        link.statistics.finish(c, link.step(chain.levels));
      else
        link.statistics.clear(c);
  }
}

}  // namespace

const size_t kMostLinks = Chain::kMost;

std::optional<TilePlan> plan_of_image(const ConvolutionSizes& sizes) {
  const auto capacity = [](int channels) {
    return channels == 16   ? ImageLayout<16>::kPixels
           : channels == 32 ? ImageLayout<32>::kPixels
           : channels == 64 ? ImageLayout<64>::kPixels
                            : 0;
  };
  if (sizes.height * sizes.width > capacity(sizes.channels) ||
      (sizes.outputs != sizes.channels && sizes.outputs != 2 * sizes.channels))
    return {};
  const auto plan = TilePlan::of(sizes, capacity(sizes.outputs), sizes.outputs, kPoolBytes);
  const bool is_whole = plan && plan->tiles_down == 1 && plan->tiles_across == 1 && plan->stage_taps == plan->taps() &&
                        16 << plan->unit_shift == plan->channels;
  return is_whole ? plan : std::nullopt;
}

void launch_chain(std::vector<ChainLink>& links) {
  const QuantizedValue& first = links[0].convolution.x;
  const auto chain = std::make_unique<Chain>(first.value, *first.codes.levels);
  Node node{"convolution chain", bytes_read(first.value), 0, links.size()};
  size_t last = links.size() - 1;
  if (links[last].is_projection) --last;
  for (size_t i = 0; i < links.size(); ++i) {
    auto& [x, values, w, geometry, y, statistics] = links[i].convolution;
    y.step_a = x.codes.step;
    y.step_b = w.step;
    new (&chain->links[chain->count++]) Link(links[i], i + 1 < links.size() && links[i + 1].is_projection, i >= last);
    const size_t running = statistics.running_mean.defined() ? 2 * statistics.running_mean.bytes() : 0;
    const size_t both = statistics.accumulators.bytes() + running;
    node.reads += w.codes.bytes() + both;
    node.writes += x.codes.codes.bytes() + (values.defined() ? values.bytes() : 0) + y.narrow.bytes() +
                   2 * statistics.mean.bytes() + both;
  }
  launch(node, Blocks::together, chain_kernel, dim3(static_cast<unsigned>(links[0].plan.images)), *chain,
         Context::get().trouble(), Context::get().ticket());
}

}  // namespace apotnet::cuda
