// Several convolutions of codes in one launch, each rounded from what the one before has left: an image to a block.
#include "core/kernels/cuda/step/forward_chain.h"

#include "core/kernels/cuda/grid_barrier.h"
#include "core/kernels/cuda/step/code_tile.h"
#include "core/kernels/cuda/step/distance.h"
#include "core/kernels/cuda/step/image_convolution.h"
#include "core/kernels/cuda/step/image_layout.h"
#include "core/kernels/cuda/step/value_gradient.h"

namespace apotnet::cuda {
namespace {

using Vector = Pack<Word, 4>;

// Shared memory for codes and weights.
constexpr int kPoolBytes = 46336;
// Room for the terms of a batch norm; those of a projection's come behind.
constexpr int kTerms = 64;

// What a lane has of an image, in the order of its packs: of the fewest channels all of it, of more the first part.
struct Held {
  int32_t sums[16][4];  // of the last convolution [row, column tile]; behind them those of a projection beside it
  float step;           // of the former
  float kept[64];       // the value that the next shortcut adds [pack, channel]
};

template <typename T, int kChannels>
__device__ Pack<T, WarpLayout<kChannels>::kLaneOutputs> sums_of(const Held& held, int i, int first = 0) {
  using Layout = WarpLayout<kChannels>;
  Pack<T, Layout::kLaneOutputs> pack;
  for (int j = 0; j < Layout::kLaneOutputs; ++j)
    pack[j] = static_cast<T>(held.sums[first + i / 2 * Layout::kColumns + j / 2][i % 2 * 2 + j % 2]);
  return pack;
}
template <int N>
__device__ Pack<float, N> kept_of(const Held& held, int i) {
  Pack<float, N> pack;
  for (int j = 0; j < N; ++j) pack[j] = held.kept[i * N + j];
  return pack;
}
template <int N>
__device__ void keep(Held& held, int i, const Pack<float, N>& values) {
  for (int j = 0; j < N; ++j) held.kept[i * N + j] = values[j];
}

bool stores_values(const ForwardLink& link) {
  return link.convolution.values.defined() && (!link.stored || link.stored->is_read());
}
bool stores_distances(const ForwardLink& link) { return link.stored && !link.stored->is_read(); }

// ForwardLink on the device.
struct Link {
  TilePlan plan;
  bool is_kept, adds, keeps;  // how its value is found, and what becomes of it
  bool is_projection;         // of the value of the next link, which follows it without a meeting of the blocks
  bool ends;                  // nobody goes on from its sums
  const float* alpha;
  float* x_step;
  uint8_t* codes;
  float* values;      // null: not stored
  int8_t* distances;  // of these; null: not stored
  const int8_t* w;
  SumOutput y;
  StatisticsArrays statistics;
  const float *gamma, *beta;  // of the batch norm behind it; null: no such thing
  Wide epsilon;

  Link(ForwardLink& link, bool ends_)
      : plan(link.plan),
        is_kept(link.is_kept),
        adds(link.adds),
        keeps(link.keeps),
        is_projection(link.is_projection),
        ends(ends_),
        alpha(input<float>(link.convolution.x.alpha)),
        x_step(output<float>(link.convolution.x.codes.step)),
        codes(output<uint8_t>(link.convolution.x.codes.codes)),
        values(stores_values(link) ? output<float>(link.convolution.values) : nullptr),
        distances(stores_distances(link) ? output<int8_t>(link.distances) : nullptr),
        w(input<int8_t>(link.convolution.w.codes)),
        y(link.convolution.y),
        statistics(link.convolution.statistics, link.convolution.y.shape().elements()),
        gamma(link.norm ? input<float>(link.norm->gamma) : nullptr),
        beta(link.norm && link.norm->beta.defined() ? input<float>(link.norm->beta) : nullptr),
        epsilon(link.norm ? Wide::of(link.norm->epsilon) : Wide{}) {}

  // Of its sums; x_step is only being written.
  __device__ float step(const Levels& levels) const { return alpha[0] / static_cast<float>(levels.k) * y.step_b[0]; }
};

// ImageConvolution on the device.
struct Image {
  ConvolutionSizes sizes;
  const float *x, *w;  // null: the first link reads its value
  float *mean, *variance;
  RunningArrays running;
  Wide count;     // of a channel's elements
  Wide* partial;  // sums and sums of squares [blocks, 2, outputs]

  static Image none() { return Image(); }
  Image(ImageConvolution& image, Wide* partial_sums)
      : sizes(sizes_of(image.x.shape(), image.w.shape(), image.geometry)),
        x(input<float>(image.x)),
        w(input<float>(image.w)),
        mean(output<float>(image.mean)),
        variance(output<float>(image.variance)),
        running(image.running_mean.defined()
                    ? RunningArrays(pixels(image), image.momentum, image.running_mean, image.running_variance)
                    : RunningArrays::none()),
        count(Wide::of(static_cast<double>(pixels(image)))),
        partial(partial_sums) {}

 private:
  static int64_t pixels(const ImageConvolution& image) { return image.y.elements() / image.mean.elements(); }
  Image()
      : sizes{},
        x(nullptr),
        w(nullptr),
        mean(nullptr),
        variance(nullptr),
        running(RunningArrays::none()),
        count{},
        partial(nullptr) {}
};

struct Chain {
  static constexpr size_t kOtherArguments = 128;
  static constexpr size_t kMost =
      (kArgumentBytes - kOtherArguments - sizeof(ValueArrays) - sizeof(Image) - sizeof(Levels)) / sizeof(Link);

  ValueArrays first;  // what the first link rounds
  Image image;        // and where that comes from
  Levels levels;
  int count;
  union {  // without a constructor for each
    Link links[kMost];
  };

  Chain(const Value& value, const Image& from, const LevelSet& set)
      : first(value), image(from), levels(set), count(0) {}
};

// Everything that a block has in shared memory.
struct Room {
  uint8_t* pool;
  int* offsets;
  ChannelNorm* terms;
  uint8_t *table, *units;  // of codes, of distances

  __device__ uint8_t* box() const { return pool; }
  __device__ uint8_t* weights(const TilePlan& plan) const {
    return pool + plan.box_height * plan.box_width * TilePlan::pixel_bytes(plan.unit_shift);
  }
  __device__ Wide* wide() const { return reinterpret_cast<Wide*>(pool); }
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
__device__ void read_first(const Chain& chain, const Room& room, Held& held) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const TilePlan& plan = chain.links[0].plan;
  const int channel = WarpLayout<kChannels>().first_output(), pixels = plan.height * plan.width;
  const auto norms = ValueArrays::Terms<N>::of(chain.first, room.terms + channel, room.terms + kTerms + channel);
  const float step_a = chain.first.a.step(), step_b = chain.first.b.step();
  const int first = static_cast<int>(blockIdx.x) * pixels * kChannels + channel;
  const auto fetch = [&](int pixel) { return chain.first.fetch<N>(first + pixel * kChannels); };
  const auto read = [&](int i, int pixel, int, int, const ValueArrays::Fetched<N>& fetched) {
    keep<N>(held, i, chain.first.finish_fetched(fetched, first + pixel * kChannels, norms, step_a, step_b));
  };
  for_each_pack<kChannels, 2>(plan.width, pixels, fetch, read, held.kept);
}

// Or out of an image: its convolution, and the batch norm behind that. The pool is free, and free again at the end.
__device__ void compute_first(const Chain& chain, const Room& room, Held& held) {
  using Layout = ImageLayout<kImageOutputs>;
  constexpr int N = Layout::kLaneOutputs, kRows = Layout::kDown * 8, kColumns = 2 * kImageOutputs;
  static_assert((kImageWeights + kImageBox) * sizeof(float) <= kPoolBytes &&
                (kThreads + kRows * kColumns) * sizeof(Wide) <= kPoolBytes);
  const Image& image = chain.image;
  const Layout warp;
  const int channel = warp.first_output(), thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int width = image.sizes.width, pixels = image.sizes.height * width;
  auto* const weights = reinterpret_cast<float*>(room.pool);
  stage_image(image.sizes, image.x, image.w, block, weights, weights + kImageWeights);
  __syncthreads();
  Wide sums[2 * N] = {};
  const auto convolve = [&](int i, int, int row, int column, Nothing) {
    const Pack<float, N> values = image_product(image.sizes, weights + channel, weights + kImageWeights, row, column);
    keep(held, i, values);
    for (int j = 0; j < N; ++j) {
      sums[j].add(values[j]);
      sums[N + j].add_product(values[j], values[j]);
    }
  };
  for_each_pack<kImageOutputs, 4>(width, pixels, nothing, convolve, held.kept);

  __syncthreads();  // the image has been read
  auto* const matrix = room.wide() + kThreads;
  Wide* const own = matrix + (warp.down * 8 + warp.lane / 4) * kColumns + channel;
  for (int j = 0; j < N; ++j) own[j] = sums[j], own[kImageOutputs + j] = sums[N + j];
  __syncthreads();
  const Wide of_block =
      column_sum(kColumns, kRows, room.wide(), [&](int row, int column) { return matrix[row * kColumns + column]; });
  if (thread < kColumns) image.partial[block * kColumns + thread] = of_block.value();
  GridBarrier barrier;
  barrier.arrive();
  barrier.wait();
  const Wide total = column_sum(kColumns, static_cast<int>(gridDim.x), room.wide(),
                                [&](int from, int column) { return image.partial[from * kColumns + column]; });
  if (thread < kColumns) matrix[thread] = total.value();
  __syncthreads();
  if (thread < kImageOutputs) {
    const Wide mean = matrix[thread] / image.count,
               variance = matrix[kImageOutputs + thread] / image.count - mean * mean;
    const float of_channel[] = {mean.high, variance.high < 0 ? 0.0f : variance.high};
    const NormArrays& norm = chain.first.a.norm;
    room.terms[thread] = ChannelNorm::of(of_channel[0], of_channel[1], norm.gamma[thread],
                                         norm.beta ? norm.beta[thread] : 0.0f, norm.epsilon);
    if (block == 0) {
      image.mean[thread] = of_channel[0];
      image.variance[thread] = of_channel[1];
      if (image.running.defined()) image.running.update(thread, of_channel[0], of_channel[1]);
    }
  }
  __syncthreads();
  const auto norms = ValueArrays::Terms<N>::of(chain.first, room.terms + channel, room.terms + kTerms + channel);
  const auto normalise = [&](int i, int, int, int, Nothing) {
    keep(held, i, chain.first.finish(kept_of<N>(held, i), Pack<float, N>{}, norms));
  };
  for_each_pack<kImageOutputs, 4>(width, pixels, nothing, normalise, held.kept);
}

// Rounds a link's value into its box, and stores the codes. The value is the one kept, or made of the sums.
template <int kChannels>
__device__ void round_value(const Chain& chain, const Link& link, const Room& room, Held& held) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const TilePlan& plan = link.plan;
  const int channel = WarpLayout<kChannels>().first_output(), pixels = plan.height * plan.width;
  const int pixel_bytes = TilePlan::pixel_bytes(plan.unit_shift);
  const int first = static_cast<int>(blockIdx.x) * pixels * kChannels + channel;  // all images fit the device
  const float alpha = link.alpha[0];
  const ClippedQuotient quotient(alpha);
  const Distances in_bytes(chain.levels, room.units);
  const ChannelNorm* const terms = room.terms + channel;
  const auto round = [&](int i, int pixel, int row, int column, Nothing) {
    Pack<float, N> value = kept_of<N>(held, i);
    if (!link.is_kept) {
      const auto sums = sums_of<float, kChannels>(held, i);
      for (int j = 0; j < N; ++j) {
        const float normalised = sums[j] * held.step * terms[j].scale + terms[j].shift;
        value[j] = link.adds ? normalised + value[j] : normalised;
      }
      rectify(value);
      if (link.keeps) keep(held, i, value);
    }
    const int place = first + pixel * kChannels;
    if (link.values) store_whole(link.values, place, value);
    Pack<Word, N / 4> codes{}, distances{};
    for (int j = 0; j < N; ++j) {
      const float z = quotient(value[j]);
      const auto code = project<uint8_t>(z, chain.levels, room.table);
      codes[j / 4] |= Word{code} << (j % 4 * 8);
      if (link.distances)
        distances[j / 4] |= Word{static_cast<uint8_t>(in_bytes.of(value[j], alpha, z, code))} << (j % 4 * 8);
    }
    if (link.distances) store_whole(reinterpret_cast<Word*>(link.distances + place), 0, distances);
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
  };
  for_each_pack<kChannels, 4>(plan.width, pixels, nothing, round, held.sums, held.kept);
}

// sums = box times weights.
template <int kOutputs>
__device__ void multiply(const Link& link, const Room& room, Held& held) {
  using Layout = ImageLayout<kOutputs>;
  const TilePlan& plan = link.plan;
  for (int i = 0; i < Layout::kRows * Layout::kColumns; ++i)
    for (int32_t& sum : held.sums[i]) sum = 0;
  auto* const rows = reinterpret_cast<int32_t(*)[Layout::kColumns][4]>(held.sums);
#pragma unroll
  for (int first = 0; first < Layout::kRows; first += Layout::kRowsAtOnce)
    multiply_stage<kOutputs, Layout::kRowsAtOnce, Layout::kRows>(plan, plan.taps() << plan.unit_shift, room.box(),
                                                                 room.weights(plan), room.offsets, rows + first, first);
}

// Stores the sums and adds them to the statistics of the batch.
template <int kOutputs>
__device__ void write_sums(const Link& link, const Room& room, Held& held) {
  const TilePlan& plan = link.plan;
  const int pixels = plan.out_height * plan.out_width, channel = WarpLayout<kOutputs>().first_output();
  const int first = static_cast<int>(blockIdx.x) * pixels * kOutputs + channel;
  LaneTotals<kOutputs, int32_t> totals;  // 16 sums of at most 1024 products of codes
  const auto write = [&](int i, int pixel, int, int, Nothing) {
    const auto pack = sums_of<int32_t, kOutputs>(held, i);
    totals.add(pack);
    store_sums(link.y.narrow, link.y.wide, first + pixel * kOutputs, pack);
  };
  for_each_pack<kOutputs, 4>(plan.out_width, pixels, nothing, write, held.sums);
  __syncthreads();  // box and weights have been read
  totals.store(room.totals());
  __syncthreads();
  add_totals<kOutputs>(link.plan, room.totals(), link.statistics);
}

// Keeps a projection's sums aside.
template <int kOutputs>
__device__ void set_aside(Held& held) {
  constexpr int kTiles = ImageLayout<kOutputs>::kRows * WarpLayout<kOutputs>::kColumns;
  for (int i = 0; i < kTiles; ++i)
    for (int j = 0; j < 4; ++j) held.sums[kTiles + i][j] = held.sums[i][j];
}
// And normalised they are the value that the next shortcut adds.
template <int kOutputs>
__device__ void keep_projection(const Chain& chain, const Link& projection, const Room& room, Held& held) {
  using Layout = ImageLayout<kOutputs>;
  constexpr int N = Layout::kLaneOutputs;
  const ChannelNorm* const terms = room.terms + kTerms + WarpLayout<kOutputs>().first_output();
  const float step = projection.step(chain.levels);
#pragma unroll
  for (int i = 0; i < 2 * Layout::kRows; ++i) {
    Pack<float, N> values = sums_of<float, kOutputs>(held, i, Layout::kRows * Layout::kColumns);
    for (int j = 0; j < N; ++j) values[j] = values[j] * step * terms[j].scale + terms[j].shift;
    keep(held, i, values);
  }
  // The rest is not used from now on, and no register has to keep it.
  for (int i = Layout::kRows * Layout::kColumns; i < 16; ++i)
    for (int j = 0; j < 4; ++j) held.sums[i][j] = 0;
  for (int i = 2 * Layout::kRows * N; i < 64; ++i) held.kept[i] = 0;
}

// What the batch norm behind a link does, when all blocks have added to its statistics.
__device__ void make_terms(const Chain& chain, const Link& link, ChannelNorm* terms) {
  const int c = static_cast<int>(threadIdx.x);
  if (c >= link.plan.outputs) return;
  const StatisticsArrays::Moments moments = link.statistics.moments(c, link.step(chain.levels));
  if (blockIdx.x == 0) link.statistics.store(c, moments);
  if (link.gamma)
    terms[c] =
        ChannelNorm::of(moments.mean, moments.variance, link.gamma[c], link.beta ? link.beta[c] : 0.0f, link.epsilon);
}

__global__ void __launch_bounds__(kThreads, 1)
    forward_chain_kernel(const __grid_constant__ Chain chain, int* trouble, unsigned* ticket) {
  SHARED_ARRAY(Vector, pool, kPoolBytes / sizeof(Vector));
  SHARED_ARRAY(int, offsets, TilePlan::kMostUnits);
  SHARED_ARRAY(ChannelNorm, terms, 2 * kTerms);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  SHARED_ARRAY(uint8_t, units, kDistanceTable);
  const Room room{reinterpret_cast<uint8_t*>(pool), offsets, terms, table, units};
  fill_table(chain.levels, table);
  Distances::fill(chain.levels, units);
  if (blockIdx.x == 0)
    for (int i = static_cast<int>(threadIdx.x); i < chain.count; i += kThreads)
      store_step(chain.links[i].alpha[0], static_cast<float>(chain.levels.k), chain.links[i].x_step, trouble);
  const int channels = chain.links[0].plan.channels;
  Held held = {};
  if (chain.image.x) {
    compute_first(chain, room, held);
  } else {
    prepare_norm(chain.first.a, 0, channels, terms);
    prepare_norm(chain.first.b, 0, channels, terms + kTerms);
  }
  prepare(chain.links[0], room);
  __syncthreads();

  if (channels == 16 && !chain.image.x) read_first<16>(chain, room, held);
  if (channels == 32) read_first<32>(chain, room, held);
  if (channels == 64) read_first<64>(chain, room, held);
  bool is_projected = false;
#pragma unroll 1
  for (int number = 0;; ++number) {
    const Link& link = chain.links[number];
    if (link.plan.channels == 16) round_value<16>(chain, link, room, held);
    if (link.plan.channels == 32) round_value<32>(chain, link, room, held);
    if (link.plan.channels == 64) round_value<64>(chain, link, room, held);
    __syncthreads();
    if (link.plan.outputs == 16) multiply<16>(link, room, held), write_sums<16>(link, room, held);
    if (link.plan.outputs == 32) multiply<32>(link, room, held), write_sums<32>(link, room, held);
    if (link.plan.outputs == 64) multiply<64>(link, room, held), write_sums<64>(link, room, held);
    if (number + 1 == chain.count) break;
    if (link.is_projection) {
      __syncthreads();  // totals have been read
      prepare(chain.links[number + 1], room);
      if (link.plan.outputs == 32) set_aside<32>(held);
      if (link.plan.outputs == 64) set_aside<64>(held);
    } else {
      GridBarrier barrier;
      barrier.arrive();
      prepare(chain.links[number + 1], room);
      barrier.wait();
#pragma unroll 1
      for (int back = 0; back <= (is_projected ? 1 : 0); ++back)
        make_terms(chain, chain.links[number - back], terms + back * kTerms);
      held.step = link.step(chain.levels);
    }
    __syncthreads();
    if (is_projected && link.plan.outputs == 32) keep_projection<32>(chain, chain.links[number - 1], room, held);
    if (is_projected && link.plan.outputs == 64) keep_projection<64>(chain, chain.links[number - 1], room, held);
    is_projected = link.is_projection;
  }

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

const size_t kMostForwardLinks = Chain::kMost;
static_assert(Chain::kMost >= 2);

int images_of_forward_chain() {
  return Context::get().blocks_together(reinterpret_cast<const void*>(forward_chain_kernel), kThreads);
}

std::optional<TilePlan> plan_of_image(const ConvolutionSizes& sizes) {
  if (sizes.height * sizes.width > pixels_of_block(sizes.channels) ||
      (sizes.outputs != sizes.channels && sizes.outputs != 2 * sizes.channels))
    return {};
  const auto plan = TilePlan::of(sizes, pixels_of_block(sizes.outputs), sizes.outputs, kPoolBytes);
  const bool is_whole = plan && plan->tiles_down == 1 && plan->tiles_across == 1 && plan->stage_taps == plan->taps() &&
                        16 << plan->unit_shift == plan->channels;
  return is_whole ? plan : std::nullopt;
}

void launch_forward_chain(std::vector<ForwardLink>& links, ImageConvolution* image) {
  const QuantizedValue& first = links[0].convolution.x;
  Scratch<Wide> partial(image ? static_cast<size_t>(2 * image->x.size(0) * kImageOutputs) : 0);
  const auto chain =
      std::make_unique<Chain>(first.value, image ? Image(*image, partial.data()) : Image::none(), *first.codes.levels);
  Node node{"forward chain", image ? image->x.bytes() + image->w.bytes() : bytes_read(first.value),
            image ? 2 * image->mean.bytes() : 0, links.size()};
  const size_t last = links.size() - 1;
  for (size_t i = 0; i < links.size(); ++i) {
    auto& [x, values, w, geometry, y, statistics] = links[i].convolution;
    y.step_a = x.codes.step;
    y.step_b = w.step;
    new (&chain->links[chain->count++]) Link(links[i], i == last || (i + 1 == last && links[i].is_projection));
    const size_t running = statistics.running_mean.defined() ? 2 * statistics.running_mean.bytes() : 0;
    const size_t both = statistics.accumulators.bytes() + running;
    node.reads += w.codes.bytes() + both;
    const size_t stored =
        (stores_values(links[i]) ? values.bytes() : 0) + (stores_distances(links[i]) ? links[i].distances.bytes() : 0);
    node.writes += x.codes.codes.bytes() + stored + y.narrow.bytes() + 2 * statistics.mean.bytes() + both;
  }
  launch(node, Blocks::together, forward_chain_kernel, dim3(static_cast<unsigned>(links[0].plan.images)), *chain,
         Context::get().trouble(), Context::get().ticket());
}

}  // namespace apotnet::cuda
