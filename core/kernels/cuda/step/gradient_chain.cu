// Several input gradients in one launch, each from what the one before has found: an image to a block.
#include "core/kernels/cuda/step/gradient_chain.h"

#include <set>

#include "core/kernels/cuda/grid_barrier.h"
#include "core/kernels/cuda/step/distance.h"
#include "core/kernels/cuda/step/gradient_frame.h"
#include "core/kernels/cuda/step/image_gradient.h"
#include "core/kernels/cuda/step/value_gradient.h"

namespace apotnet::cuda {
namespace {

using Vector = Pack<Word, 4>;

constexpr int kWidest = 64, kMostNorms = 2;
constexpr int kColumnsAtMost = (1 + kMostNorms) * kWidest;  // of sums: over g, and over its products
// Shared memory for the gradients of outputs, a frame of zeros around them, and weights; in turn for sums.
constexpr int kPoolBytes = 43904;
constexpr int kImagePlace = kThreads * kImageOutputs;  // in floats: a pixel's gradients for each thread come before it
static_assert((kImagePlace + kImageWeights + kImageBox) * sizeof(float) <= kPoolBytes);

bool reads_distances(const GradientLink& link) { return link.stored && !link.stored->is_read(); }

// GradientLink on the device.
struct Link {
  ConvolutionSizes sizes;
  bool is_projection, adds, keeps, is_given, masks, relu;
  int norm, norms;
  int turn;  // which half of the partial sums it has: blocks may still read those of the link before
  const ChannelGradient* coefficients;  // where given
  SumArrays x;                          // the convolution's own
  BFloat16* stored;                     // gy; may be null
  const int8_t* w;
  const float* w_step;
  OperandArrays a;
  const int8_t* distances;  // with codes in place of a; null: not so
  const uint8_t* codes;
  const float* alpha;
  float* galpha;
  NormPart norm_parts[kMostNorms];
  BFloat16* out;  // null: nobody reads it

  Link(GradientLink& link, bool is_read, int turn_)
      : sizes(sizes_of(link.value.out.shape(), link.convolution->w.shape(), link.convolution->geometry)),
        is_projection(link.is_projection),
        adds(link.adds),
        keeps(link.keeps),
        is_given(link.is_given),
        masks(ValueNeeds(link.value).masks),
        relu(link.value.value.relu),
        norm(link.norm),
        norms(static_cast<int>(link.value.norms.size())),
        turn(turn_),
        coefficients(
            reinterpret_cast<const ChannelGradient*>(input<float>(link.convolution->gy.computed->coefficients))),
        x(*link.convolution->gy.computed->x.sums),
        stored(link.convolution->gy.stored.defined()
                   ? const_cast<BFloat16*>(input<BFloat16>(link.convolution->gy.stored))
                   : nullptr),
        w(input<int8_t>(link.convolution->w.codes)),
        w_step(input<float>(link.convolution->w.step)),
        a(link.value.value.a),
        distances(reads_distances(link) ? input<int8_t>(link.rounded.distances) : nullptr),
        codes(reads_distances(link) ? input<uint8_t>(link.rounded.codes) : nullptr),
        alpha(input<float>(link.value.alpha)),
        galpha(output<float>(link.value.galpha)),
        norm_parts{NormPart::of(link.value, 0), NormPart::of(link.value, 1)},
        out(is_read ? output<BFloat16>(link.value.out) : nullptr) {}
};

struct Chain {
  static constexpr size_t kOtherArguments = 128;
  static constexpr size_t kMost =
      (kArgumentBytes - kOtherArguments - sizeof(ImageGradient) - sizeof(Levels)) / sizeof(Link);

  const BFloat16* first;          // what the first link begins with
  Wide *partial, *alpha_partial;  // [2, blocks, columns], [links, blocks]
  ImageGradient image;
  Levels levels;
  int count;
  union {  // without a constructor for each
    Link links[kMost];
  };

  Chain(const Tensor& g, const ImageGradient& end, Wide* partial_sums, Wide* alpha_partial_sums, const LevelSet& set)
      : first(input<BFloat16>(g)),
        partial(partial_sums),
        alpha_partial(alpha_partial_sums),
        image(end),
        levels(set),
        count(0) {}

  // Whether a link's value is the image's convolution behind its batch norm.
  __device__ bool is_of_image(int number) const { return image.x && number + 1 == count; }
};

// Everything that a block has in shared memory.
struct Room {
  uint8_t* pool;
  ChannelNorm* norm;             // of the value's operand
  float* means;                  // [kMostNorms, 64]
  float* coefficients;           // [kMostNorms, 3, 64]
  Wide* totals;                  // [kColumnsAtMost]
  const uint8_t *table, *units;  // of codes, of distances

  // Of an image, which lies behind what sums and gradients take.
  __device__ float* image_weights() const { return reinterpret_cast<float*>(pool) + kImagePlace; }
  __device__ float* image_box() const { return image_weights() + kImageWeights; }
};

// What a lane has of an image, in the order of its packs: of the fewest channels all of it, of more the first part.
struct Held {
  Word g[32], kept[32];  // bf16, two in a word [pack, pair of channels]
  float sums[16][4];     // of products [row, column tile]
};

// The gradient of the convolution's outputs, from that of its batch norm's: into the frame, and stored.
template <int kOutputs>
__device__ void stage_gradient(const Link& link, const Room& room, Held& held) {
  constexpr int N = WarpLayout<kOutputs>::kLaneOutputs;
  const int width = link.sizes.out_width, pixels = link.sizes.out_height * width,
            channel = WarpLayout<kOutputs>().first_output();
  const int first = static_cast<int>(blockIdx.x) * pixels * kOutputs + channel;  // all images fit the device
  const float* const own = room.coefficients + link.norm * 3 * kWidest + channel;
  const auto factor = load<N>(own, 0), slope = load<N>(own + kWidest, 0), constant = load<N>(own + 2 * kWidest, 0);
  const float step = link.x.step();
  const auto fetch = [&](int pixel) { return link.x.fetch<N>(first + pixel * kOutputs); };
  const auto stage = [&](int i, int pixel, int row, int column, const SumArrays::Packed<N>& fetched) {
    const int place = first + pixel * kOutputs;
    const Pack<float, N> sums = link.x.finish<N>(fetched, place), g = widened<N>(words_of<N>(held.g, i));
    Pack<float, N> dy;
    for (int j = 0; j < N; ++j) dy[j] = norm_input_gradient(g[j], sums[j] * step, factor[j], slope[j], constant[j]);
    const Pack<Word, N / 2> pairs = narrowed(dy);
    if (link.stored) store_whole(reinterpret_cast<Word*>(link.stored + place), 0, pairs);
    const int staged = (row + 1) * (width + 2) + column + 1;
    store(reinterpret_cast<Word*>(room.pool + Frame<kOutputs>::place_of(staged, channel / 8) + channel % 8 * 2), 0,
          pairs);
  };
  for_each_pack<kOutputs, 2>(width, pixels, fetch, stage, held.g);
}

// From the gradient of the codes to that of the value's operands (ValueGradient), and its sums.
template <int kChannels>
using LaneValueSums = ValueSums<WarpLayout<kChannels>::kLaneOutputs, norms_at_most(kChannels)>;
template <int kChannels>
__device__ LaneValueSums<kChannels> pass_value(const Chain& chain, const Link& link, bool is_of_image, const Room& room,
                                               Held& held) {
  using Layout = WarpLayout<kChannels>;
  constexpr int N = Layout::kLaneOutputs, kNorms = norms_at_most(kChannels);
  const int pixels = link.sizes.height * link.sizes.width, channel = Layout().first_output();
  const int first = static_cast<int>(blockIdx.x) * pixels * kChannels + channel;
  const float w_step = link.w_step[0], alpha = link.alpha[0], k = static_cast<float>(chain.levels.k);
  const float a_step = link.a.step();
  const ClippedQuotient quotient(alpha);
  const Distances in_bytes(chain.levels, room.units);
  LaneValueSums<kChannels> found = {};
  float steps[kNorms];
  for (int n = 0; n < kNorms; ++n) steps[n] = link.norm_parts[n].operand.step();
  struct Fetched {
    Pack<Word, N> a;
    SumArrays::Packed<N> norms[kNorms];
  };
  const auto fetch = [&](int pixel) {
    const int place = first + pixel * kChannels;
    Fetched fetched;
    if (link.distances) {
      const auto distances = load<N / 4>(reinterpret_cast<const Word*>(link.distances + place), 0),
                 codes = load<N / 4>(reinterpret_cast<const Word*>(link.codes + place), 0);
      for (int j = 0; j < N / 4; ++j) fetched.a[j] = distances[j], fetched.a[N / 4 + j] = codes[j];
    } else if (!is_of_image) {
      fetched.a = link.a.fetch<N>(place);
    }
    for (int n = 0; n < kNorms; ++n)
      if (link.norm_parts[n].source == Source::memory)
        fetched.norms[n] = link.norm_parts[n].operand.sums.fetch<N>(place);
    return fetched;
  };
  const auto pass = [&](int i, int pixel, int row, int column, const Fetched& fetched) {
    const int place = first + pixel * kChannels;
    Pack<float, N> g;
    for (int j = 0; j < N; ++j) g[j] = held.sums[i / 2 * Layout::kColumns + j / 2][i % 2 * 2 + j % 2] * w_step;
    Pack<float, N> as{}, values{};  // with distances of the value only whether it is positive
    if (link.distances) {
      for (int j = 0; j < N; ++j) {
        const int distance = static_cast<int8_t>(fetched.a[j / 4] >> (j % 4 * 8));
        const int code = static_cast<uint8_t>(fetched.a[N / 4 + j / 4] >> (j % 4 * 8));
        found.alpha = fmaf(g[j], in_bytes.alpha_factor(distance, code), found.alpha);
        if (Distances::is_above(distance)) g[j] = 0;
        values[j] = Distances::is_positive(distance) ? 1.0f : 0.0f;
      }
    } else {
      if constexpr (kChannels == kImageOutputs) {
        if (is_of_image) {
          as = image_product(chain.image.sizes, room.image_weights() + channel, room.image_box(), row, column);
          for (int j = 0; j < N; ++j) held.sums[i / 2 * Layout::kColumns + j / 2][i % 2 * 2 + j % 2] = as[j];
        }
      }
      if (!is_of_image) as = link.a.finish_raw<N>(fetched.a, place, a_step);
      values = as;
      Pack<float, N> scale{}, shift{};
      for (int j = 0; j < N; ++j)
        if (link.a.has_norm()) scale[j] = room.norm[channel + j].scale, shift[j] = room.norm[channel + j].shift;
      link.a.finish(values, scale, shift);
      if (link.relu) rectify(values);
      leave_quantizer(
          g, values, alpha, k, quotient, chain.levels,
          [&](int at) { return static_cast<float>(room.table[at]) * alpha; }, found.alpha);
    }
    if (link.adds) {
      const Pack<float, N> others = widened<N>(words_of<N>(held.kept, i));
      for (int j = 0; j < N; ++j) g[j] += others[j];
    }
    if (link.masks)
      for (int j = 0; j < N; ++j) g[j] = values[j] > 0 ? g[j] : 0.0f;
    const Pack<Word, N / 2> rounded = narrowed(g);
    if (!link.is_projection) hold<N>(held.g, i, rounded);
    if (link.keeps) hold<N>(held.kept, i, rounded);
    if (link.out) store_whole(reinterpret_cast<Word*>(link.out + place), 0, rounded);
    for (int j = 0; j < N; ++j) found.g[j] += g[j];
    for (int n = 0; n < kNorms; ++n) {
      const NormPart& part = link.norm_parts[n];
      if (part.source == Source::none) continue;
      Pack<float, N> xs = as;
      if (part.source == Source::memory) xs = part.operand.finish_sums<N>(fetched.norms[n], place, steps[n]);
      const auto means = load<N>(room.means, n * kWidest + channel);
      for (int j = 0; j < N; ++j) found.gx[n][j] = fmaf(g[j], xs[j] - means[j], found.gx[n][j]);
    }
  };
  for_each_pack<kChannels, 1>(link.sizes.width, pixels, fetch, pass, held.sums, held.g, held.kept);
  if (link.distances) found.alpha *= alpha;
  // Of an image of more channels the rest is not used, and no register has to keep it.
  for (int i = ImageLayout<kChannels>::kRows * N; i < 32; ++i) held.g[i] = 0;
  return found;
}

// Adds up what the lanes have found, in a fixed order, and stores it for all blocks. The pool is free.
template <int kChannels>
__device__ void add_up(const Chain& chain, int number, const Room& room, const LaneValueSums<kChannels>& found) {
  using Layout = ImageLayout<kChannels>;
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs, kNorms = norms_at_most(kChannels), kSums = 1 + kNorms,
                kColumns = kSums * kChannels, kRows = Layout::kDown * 8;
  static_assert(kColumns <= kThreads && kRows * kColumns * sizeof(float) + kThreads * sizeof(Wide) <= kPoolBytes);
  auto* const wide = reinterpret_cast<Wide*>(room.pool);
  auto* const matrix = reinterpret_cast<float*>(wide + kThreads);  // [row, sum, channel]
  const Layout warp;
  float* const own = matrix + (warp.down * 8 + warp.lane / 4) * kColumns + warp.first_output();
  for (int j = 0; j < N; ++j) {
    own[j] = found.g[j];
    for (int n = 0; n < kNorms; ++n) own[(1 + n) * kChannels + j] = found.gx[n][j];
  }
  const Wide alpha = block_sum(Wide{found.alpha, 0});
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x),
            blocks = static_cast<int>(gridDim.x);
  if (thread == 0) chain.alpha_partial[number * blocks + block] = alpha.value();
  const Link& link = chain.links[number];
  if (link.norms == 0) return;
  const int columns = (1 + link.norms) * kChannels;
  const Wide total = column_sum(columns, kRows, wide, [&](int row, int column) {
    return Wide{matrix[row * kColumns + column], 0};
  });
  if (thread < columns) chain.partial[(link.turn * blocks + block) * kColumnsAtMost + thread] = total.value();
}

// What the batch norms of a link learn from the sums of all blocks; one of these stores it.
__device__ void finish_norms(const Chain& chain, int number, const Room& room, bool stores) {
  const Link& link = chain.links[number];
  const int channels = link.sizes.channels, thread = static_cast<int>(threadIdx.x),
            blocks = static_cast<int>(gridDim.x), columns = (1 + link.norms) * channels;
  const Wide* const partial = chain.partial + link.turn * blocks * kColumnsAtMost;
  const Wide total = column_sum(columns, blocks, reinterpret_cast<Wide*>(room.pool),
                                [&](int block, int column) { return partial[block * kColumnsAtMost + column]; });
  if (thread < columns) room.totals[thread] = total.value();
  __syncthreads();
  const int n = thread / channels, c = thread % channels;
  if (n < link.norms) {
    const FinishNormGradient<false>& finish = link.norm_parts[n].finish;
    const auto found = finish.of(c, room.totals[c], room.totals[(1 + n) * channels + c]);
    if (stores) finish.store(c, found);
    float* const own = room.coefficients + n * 3 * kWidest + c;
    own[0] = found.gradient.factor;
    own[kWidest] = found.gradient.slope;
    own[2 * kWidest] = found.gradient.constant;
  }
  __syncthreads();
}

// Calls f with the channels of a link's outputs and inputs, as types.
template <typename F>
__device__ void with_channels_of(const ConvolutionSizes& sizes, F&& f) {
  with_channels(sizes.channels, [&](auto channels) {
    if (sizes.outputs == sizes.channels) return f(channels, channels);
    if constexpr (channels < kWidest) f(std::integral_constant<int, 2 * channels>{}, channels);
  });
}

// What a link needs and no other block has a part in: its first weights, and terms of batch norms. Behind the frame
// the pool is free.
__device__ void prepare(const Link& link, const Room& room) {
  const ConvolutionSizes& sizes = link.sizes;
  for (int c = static_cast<int>(threadIdx.x); c < sizes.channels; c += kThreads) {
    if (link.a.has_norm()) room.norm[c] = ChannelNorm::of(link.a.norm, c);
    for (int n = 0; n < link.norms; ++n) room.means[n * kWidest + c] = link.norm_parts[n].finish.norm.mean[c];
  }
  uint8_t* const weights = room.pool + weights_place(sizes);
  const int taps = min(taps_at_once(sizes.outputs), sizes.taps());
  with_channels_of(sizes, [&](auto outputs, auto channels) {
    stage_frame_weights<outputs, channels>(sizes, link.w, 0, taps, weights);
  });
}

// The products of a link that has been prepared. Coefficients are there, and the frame's room is free.
template <int kOutputs, int kChannels>
__device__ void multiply_link(const Link& link, const Room& room, Held& held) {
  clear_border<kOutputs>(link.sizes, room.pool);
  stage_gradient<kOutputs>(link, room, held);
  __syncthreads();
  multiply_frame<kOutputs, kChannels>(link.sizes, link.w, room.pool, held.sums);
}
// What follows them, as far as the block goes by itself.
template <int kChannels>
__device__ void pass_link(const Chain& chain, int number, const Room& room, Held& held) {
  const bool is_of_image = kChannels == kImageOutputs && chain.is_of_image(number);
  if (is_of_image) {
    __syncthreads();  // the pool has been read
    stage_image(chain.image.sizes, chain.image.x, chain.image.w, static_cast<int>(blockIdx.x), room.image_weights(),
                room.image_box());
    __syncthreads();
  }
  const auto found = pass_value<kChannels>(chain, chain.links[number], is_of_image, room, held);
  __syncthreads();  // the pool has been read
  add_up<kChannels>(chain, number, room, found);
}

// The gradient that the first link begins with, which a shortcut may add later.
template <int kChannels>
__device__ void read_first(const Chain& chain, Held& held) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const ConvolutionSizes& sizes = chain.links[0].sizes;
  const int pixels = sizes.out_height * sizes.out_width;
  const int first = static_cast<int>(blockIdx.x) * pixels * kChannels + WarpLayout<kChannels>().first_output();
  const auto fetch = [&](int pixel) { return load_halves<N>(chain.first, first + pixel * kChannels); };
  const auto read = [&](int i, int, int, int, const Pack<Word, N / 2>& words) {
    hold<N>(held.g, i, words);
    hold<N>(held.kept, i, words);
  };
  for_each_pack<kChannels, 4>(sizes.out_width, pixels, fetch, read, held.g, held.kept);
}

__global__ void __launch_bounds__(kThreads, 1)
    gradient_chain_kernel(const __grid_constant__ Chain chain, unsigned* ticket) {
  SHARED_ARRAY(Vector, pool, kPoolBytes / sizeof(Vector));
  SHARED_ARRAY(ChannelNorm, norm, kWidest);
  SHARED_ARRAY(float, means, kMostNorms* kWidest);
  SHARED_ARRAY(float, coefficients, kMostNorms * 3 * kWidest);
  SHARED_ARRAY(Wide, totals, kColumnsAtMost);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  SHARED_ARRAY(uint8_t, units, kDistanceTable);
  const Room room{reinterpret_cast<uint8_t*>(pool), norm, means, coefficients, totals, table, units};
  fill_table(chain.levels, table);
  Distances::fill(chain.levels, units);
  for (int number = 0; number < min(chain.count, kMostNorms); ++number) {
    const Link& link = chain.links[number];
    float* const own = coefficients + link.norm * 3 * kWidest;
    for (int c = static_cast<int>(threadIdx.x); c < link.sizes.outputs && link.is_given; c += kThreads) {
      own[c] = link.coefficients[c].factor;
      own[kWidest + c] = link.coefficients[c].slope;
      own[2 * kWidest + c] = link.coefficients[c].constant;
    }
  }
  prepare(chain.links[0], room);
  __syncthreads();

  Held held = {};
  with_channels(chain.links[0].sizes.outputs, [&](auto outputs) { read_first<outputs>(chain, held); });
#pragma unroll 1
  for (int number = 0; number < chain.count; ++number) {
    const Link& link = chain.links[number];
    with_channels_of(link.sizes,
                     [&](auto outputs, auto channels) { multiply_link<outputs, channels>(link, room, held); });
    with_channels(link.sizes.channels, [&](auto channels) { pass_link<channels>(chain, number, room, held); });
    if (number + 1 == chain.count) break;
    if (link.norms == 0) {
      __syncthreads();
      prepare(chain.links[number + 1], room);
      continue;
    }
    GridBarrier barrier;
    barrier.arrive();
    prepare(chain.links[number + 1], room);
    barrier.wait();
    finish_norms(chain, number, room, blockIdx.x == 0);
  }

  if (chain.image.x) {
    GridBarrier barrier;
    barrier.arrive();
    barrier.wait();
    finish_norms(chain, chain.count - 1, room, blockIdx.x == 0);
    weigh_image(chain.image, coefficients, kWidest, reinterpret_cast<float*>(pool), room.image_box(), held.g,
                held.sums);
  }
  if (!last_block(ticket)) return;
  if (chain.image.x)
    finish_image(chain.image);
  else if (chain.links[chain.count - 1].norms > 0)
    finish_norms(chain, chain.count - 1, room, true);
  const Wide alpha =
      column_sum(chain.count, static_cast<int>(gridDim.x), reinterpret_cast<Wide*>(pool),
                 [&](int block, int link) { return chain.alpha_partial[link * static_cast<int>(gridDim.x) + block]; });
  const int thread = static_cast<int>(threadIdx.x);
  if (thread >= chain.count) return;
  const Link& link = chain.links[thread];
  link.galpha[0] = (alpha.value() / (Wide{static_cast<float>(chain.levels.k), 0} * Wide{link.alpha[0], 0})).high;
}

}  // namespace

const size_t kMostGradientLinks = Chain::kMost;
static_assert(Chain::kMost >= 2 && Chain::kMost <= kThreads);  // the last block has a thread for each

int images_of_gradient_chain() {
  return Context::get().blocks_together(reinterpret_cast<const void*>(gradient_chain_kernel), kThreads);
}

bool fits_gradient_chain(const ConvolutionSizes& sizes) {
  const bool is_equal = sizes.outputs == sizes.channels, is_wider = sizes.outputs == 2 * sizes.channels;
  const bool is_square = sizes.kernel_height == 3 && sizes.kernel_width == 3 && sizes.padding == 1;
  const bool is_projection = sizes.taps() == 1 && sizes.padding == 0;
  if (!((is_equal && is_square && sizes.stride == 1) ||
        (is_wider && (is_square || is_projection) && sizes.stride == 2)))
    return false;
  const int taps = std::min(taps_at_once(sizes.outputs), sizes.taps());
  return sizes.height * sizes.width <= pixels_of_block(sizes.channels) &&
         sizes.out_height * sizes.out_width <= pixels_of_block(sizes.outputs) &&
         weights_place(sizes) + taps * sizes.outputs * row_bytes(sizes.channels) <= kPoolBytes;
}

void launch_gradient_chain(std::vector<GradientLink>& links, ImageConvolution* image) {
  const ConvolutionGradient& first = *links[0].convolution;
  const auto blocks = static_cast<size_t>(links[0].value.out.size(0));
  Scratch<Wide> partial(2 * blocks * kColumnsAtMost), alpha_partial(links.size() * blocks);
  Scratch<float> image_partial(image ? blocks * kImageOutputs * kImageTerms : 0);
  const auto chain = std::make_unique<Chain>(
      first.gy.computed->g, image ? ImageGradient(*image, image_partial.data()) : ImageGradient::none(), partial.data(),
      alpha_partial.data(), *links[0].value.levels);
  Node node{"gradient chain", first.gy.computed->g.bytes(), 0, links.size()};
  if (image) {
    node.reads += image->x.bytes() + image->w.bytes();
    node.writes += image->gw.bytes();
  }
  const size_t left = partial.bytes() + alpha_partial.bytes() + image_partial.bytes();  // for other blocks
  node.reads += left, node.writes += left;
  std::set<const std::byte*> read;  // a batch norm's input is read for its output and for its gradient
  const auto reads = [&](const Operand& operand) {
    if (read.insert((operand.sums ? operand.sums->narrow : operand.values).raw()).second)
      node.reads += bytes_read(operand);
  };
  int turn = 0;
  for (size_t i = 0; i < links.size(); ++i) {
    GradientLink& link = links[i];
    check_value_gradient(link.value);
    const bool is_last = i + 1 == links.size(), is_of_image = image && is_last;
    const bool is_read = !is_of_image && (is_last || link.users > 0);
    const Link& own = *new (&chain->links[chain->count++]) Link(link, is_read, turn);
    if (own.norms > 0) turn = 1 - turn;
    reads(link.convolution->gy.computed->x);
    if (own.distances)
      node.reads += link.rounded.distances.bytes() + link.rounded.codes.bytes();
    else if (!is_of_image)
      reads(link.value.value.a);
    for (const NormGradient& norm : link.value.norms)
      if (!is_of_image) reads(norm.operand);
    node.reads += link.convolution->w.codes.bytes();
    node.writes += (own.stored ? link.convolution->gy.stored.bytes() : 0) + (own.out ? link.value.out.bytes() : 0);
  }
  launch(node, Blocks::together, gradient_chain_kernel, dim3(static_cast<unsigned>(blocks)), *chain,
         Context::get().ticket());
}

}  // namespace apotnet::cuda
