// Several convolutions of codes in one launch, each rounded from what the one before has left: an image to a block.
#include "core/kernels/cuda/step/forward_chain.h"

#include "core/kernels/cuda/channel_sums.h"
#include "core/kernels/cuda/grid_barrier.h"
#include "core/kernels/cuda/step/forward_frame.h"
#include "core/kernels/cuda/step/image_convolution.h"

namespace apotnet::cuda {
namespace {

using Vector = Pack<Word, 4>;
using Held = HeldImage;
using Link = ForwardLinkArrays;
using Chain = ForwardChainArrays;
using Room = ChainRoom;

// Weights of a link in shared memory, and zeros all over the box. A barrier comes before and after.
__device__ void prepare(const Link& link, const Room& room) {
  const TilePlan& plan = link.plan;
  uint8_t* const weights = room.weights(plan);
  for (int64_t i = static_cast<int>(threadIdx.x) * 16; i < weights - room.box(); i += kThreads * 16)
    store(reinterpret_cast<Word*>(room.box() + i), 0, Vector{});
  with_channels(plan.outputs,
                [&](auto outputs) { stage_weights<outputs>(plan, link.w, 0, 0, plan.taps(), weights, room.offsets); });
}

// The value of the first link, out of memory.
template <int kChannels>
__device__ void read_first(const Chain& chain, const Room& room, Held& held) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const TilePlan& plan = chain.links[0].plan;
  const int channel = WarpLayout<kChannels>().first_output(), pixels = plan.height * plan.width;
  const auto norms = ValueArrays::Terms<N>::of(chain.first, room.terms + channel, room.terms + kChannelTerms + channel);
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
  const ImageArrays& image = chain.image;
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
  const auto norms = ValueArrays::Terms<N>::of(chain.first, room.terms + channel, room.terms + kChannelTerms + channel);
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
    const Pack<float, N> value = link.is_kept ? kept_of<N>(held, i) : value_of<kChannels>(held, i, terms, link.adds);
    if (link.keeps) keep(held, i, value);
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
// And normalised they are the value that the next shortcut adds; without one nobody has made the terms, nor reads it.
template <int kOutputs>
__device__ void keep_projection(const Chain& chain, const Link& projection, const Room& room, Held& held) {
  using Layout = ImageLayout<kOutputs>;
  constexpr int N = Layout::kLaneOutputs;
  const ChannelNorm* const terms = room.terms + kChannelTerms + WarpLayout<kOutputs>().first_output();
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

// Stores the value behind the last sums, and the mean over its pixels. The pool is free.
template <int kChannels>
__device__ void end_with_mean(const PooledArrays& end, const TilePlan& plan, const Room& room, Held& held) {
  const int channel = WarpLayout<kChannels>().first_output(), pixels = plan.out_height * plan.out_width;
  float* const values = end.values + static_cast<int>(blockIdx.x) * pixels * kChannels;
  const auto finish = [&](int i, int pixel, int, int, Nothing) {
    const auto value = value_of<kChannels>(held, i, room.terms + channel, end.adds);
    store_whole(values, pixel * kChannels + channel, value);
    store(room.values(), pixel * kChannels + channel, value);
  };
  for_each_pack<kChannels, 4>(plan.out_width, pixels, nothing, finish, held.sums, held.kept);
  __syncthreads();
  const int c = static_cast<int>(threadIdx.x);
  if (c >= kChannels) return;
  Wide sum = {};  // in the order of average_pool
  for (int pixel = 0; pixel < pixels; ++pixel) sum.add(room.values()[pixel * kChannels + c]);
  const Wide mean = sum.value() / Wide{static_cast<float>(pixels), 0};
  end.mean[static_cast<int>(blockIdx.x) * kChannels + c] = mean.high;
}

__global__ void __launch_bounds__(kThreads, 1)
    forward_chain_kernel(const __grid_constant__ Chain chain, int* trouble, unsigned* ticket) {
  SHARED_ARRAY(Vector, pool, kPoolBytes / sizeof(Vector));
  SHARED_ARRAY(int, offsets, TilePlan::kMostUnits);
  SHARED_ARRAY(ChannelNorm, terms, 2 * kChannelTerms);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  SHARED_ARRAY(uint8_t, units, kDistanceTable);
  const Room room{reinterpret_cast<uint8_t*>(pool), offsets, terms, table, units};
  fill_table(chain.levels, table);
  Distances::fill(chain.levels, units);
  if (blockIdx.x == 0)
    for (int i = static_cast<int>(threadIdx.x); i < chain.count; i += kThreads)
      store_step(chain.links[i].alpha[0], static_cast<float>(chain.levels.k), chain.links[i].x_step, trouble);
  const int first_channels = chain.links[0].plan.channels;
  Held held = {};
  if (chain.image.x) {
    compute_first(chain, room, held);
  } else {
    prepare_norm(chain.first.a, 0, first_channels, terms);
    prepare_norm(chain.first.b, 0, first_channels, terms + kChannelTerms);
  }
  prepare(chain.links[0], room);
  __syncthreads();

  if (!chain.image.x) with_channels(first_channels, [&](auto channels) { read_first<channels>(chain, room, held); });
  bool is_projected = false;
#pragma unroll 1
  for (int number = 0;; ++number) {
    const Link& link = chain.links[number];
    with_channels(link.plan.channels, [&](auto channels) { round_value<channels>(chain, link, room, held); });
    __syncthreads();
    with_channels(link.plan.outputs, [&](auto outputs) {
      multiply<outputs>(link, room, held);
      write_sums<outputs>(link, room, held);
    });
    const bool is_last = number + 1 == chain.count;
    if (is_last && !chain.end.values) break;
    if (link.is_projection) {
      __syncthreads();  // totals have been read
      prepare(chain.links[number + 1], room);
      if (link.plan.outputs == 32) set_aside<32>(held);
      if (link.plan.outputs == 64) set_aside<64>(held);
    } else {
      GridBarrier barrier;
      barrier.arrive();
      if (!is_last) prepare(chain.links[number + 1], room);
      barrier.wait();
#pragma unroll 1
      for (int back = 0; back <= (is_projected ? 1 : 0); ++back)
        make_terms(chain, chain.links[number - back], terms + back * kChannelTerms);
      held.step = link.step(chain.levels);
    }
    __syncthreads();
    if (is_projected && link.plan.outputs == 32) keep_projection<32>(chain, chain.links[number - 1], room, held);
    if (is_projected && link.plan.outputs == 64) keep_projection<64>(chain, chain.links[number - 1], room, held);
    is_projected = link.is_projection;
    if (!is_last) continue;
    with_channels(link.plan.outputs, [&](auto outputs) { end_with_mean<outputs>(chain.end, link.plan, room, held); });
    break;
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

bool fits_mean(const TilePlan& plan) {
  return plan.out_height * plan.out_width * plan.outputs * static_cast<int>(sizeof(float)) <= kPoolBytes;
}

void launch_forward_chain(std::vector<ForwardLink>& links, ImageConvolution* image, PooledValue* end) {
  const QuantizedValue& first = links[0].convolution.x;
  Scratch<Wide> partial(image ? static_cast<size_t>(2 * image->x.size(0) * kImageOutputs) : 0);
  const auto chain = std::make_unique<Chain>(
      first.value, image ? ImageArrays(*image, partial.data()) : ImageArrays::none(),
      end ? PooledArrays{output<float>(end->values), output<float>(end->mean), end->value.b.has_value()}
          : PooledArrays{},
      *first.codes.levels);
  Node node{"forward chain", image ? image->x.bytes() + image->w.bytes() : bytes_read(first.value),
            image ? 2 * image->mean.bytes() : 0, links.size()};
  if (end) node.writes += end->values.bytes() + end->mean.bytes();
  node.reads += partial.bytes(), node.writes += partial.bytes();
  const size_t last = links.size() - 1;
  for (size_t i = 0; i < links.size(); ++i) {
    auto& [x, values, w, geometry, y, statistics] = links[i].convolution;
    y.step_a = x.codes.step;
    y.step_b = w.step;
    const bool ends = !end && (i == last || (i + 1 == last && links[i].is_projection));
    new (&chain->links[chain->count++]) Link(links[i], ends);
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
