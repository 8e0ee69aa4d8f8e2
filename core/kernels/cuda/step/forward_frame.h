#pragma once

#include "core/kernels/cuda/step/distance.h"
#include "core/kernels/cuda/step/forward_chain.h"
#include "core/kernels/cuda/step/image_layout.h"
#include "core/kernels/cuda/step/value_gradient.h"

// What a launch of several convolutions works with: its arguments, and a block's shared memory and registers.

namespace apotnet::cuda {

/// Shared memory for codes and weights.
inline constexpr int kPoolBytes = 46336;
// ChainRoom for the terms of a batch norm; those of a projection's come behind.
inline constexpr int kChannelTerms = 64;

/// What a lane has of an image, in the order of its packs: of the fewest channels all of it, of more the first part.
struct HeldImage {
  int32_t sums[16][4];  // of the last convolution [row, column tile]; behind them those of a projection beside it
  float step;           // of the former
  float kept[64];       // the value that the next shortcut adds [pack, channel]
};

/// The sums of pack i.
template <typename T, int kChannels>
__device__ Pack<T, WarpLayout<kChannels>::kLaneOutputs> sums_of(const HeldImage& held, int i, int first = 0) {
  using Layout = WarpLayout<kChannels>;
  Pack<T, Layout::kLaneOutputs> pack;
  for (int j = 0; j < Layout::kLaneOutputs; ++j)
    pack[j] = static_cast<T>(held.sums[first + i / 2 * Layout::kColumns + j / 2][i % 2 * 2 + j % 2]);
  return pack;
}
/// The numbers that are kept of pack i.
template <int N>
__device__ Pack<float, N> kept_of(const HeldImage& held, int i) {
  Pack<float, N> pack;
  for (int j = 0; j < N; ++j) pack[j] = held.kept[i * N + j];
  return pack;
}
template <int N>
__device__ void keep(HeldImage& held, int i, const Pack<float, N>& values) {
  for (int j = 0; j < N; ++j) held.kept[i * N + j] = values[j];
}

/// The value behind the sums: their batch norm, whose terms begin with the lane's channels, plus the one kept where it
/// `adds`, behind a ReLU.
template <int kChannels>
__device__ Pack<float, WarpLayout<kChannels>::kLaneOutputs> value_of(const HeldImage& held, int i,
                                                                     const ChannelNorm* terms, bool adds) {
  constexpr int N = WarpLayout<kChannels>::kLaneOutputs;
  const auto sums = sums_of<float, kChannels>(held, i);
  Pack<float, N> value = kept_of<N>(held, i);
  for (int j = 0; j < N; ++j) {
    const float normalised = sums[j] * held.step * terms[j].scale + terms[j].shift;
    value[j] = adds ? normalised + value[j] : normalised;
  }
  rectify(value);
  return value;
}

inline bool stores_values(const ForwardLink& link) {
  return link.convolution.values.defined() && (!link.stored || link.stored->is_read());
}
inline bool stores_distances(const ForwardLink& link) { return link.stored && !link.stored->is_read(); }

/// ForwardLink on the device.
struct ForwardLinkArrays {
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

  ForwardLinkArrays(ForwardLink& link, bool ends_)
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

/// ImageConvolution on the device.
struct ImageArrays {
  ConvolutionSizes sizes;
  const float *x, *w;  // null: the first link reads its value
  float *mean, *variance;
  RunningArrays running;
  Wide count;     // of a channel's elements
  Wide* partial;  // sums and sums of squares [blocks, 2, outputs]

  static ImageArrays none() { return ImageArrays(); }
  ImageArrays(ImageConvolution& image, Wide* partial_sums)
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
  ImageArrays()
      : sizes{},
        x(nullptr),
        w(nullptr),
        mean(nullptr),
        variance(nullptr),
        running(RunningArrays::none()),
        count{},
        partial(nullptr) {}
};

/// A value and its mean at the end of the chain (PooledValue) on the device.
struct PooledArrays {
  float *values, *mean;  // null: the chain ends with sums
  bool adds;             // the one kept, to that of the batch norm
};

/// The launch on the device.
struct ForwardChainArrays {
  static constexpr size_t kOtherArguments = 128;
  static constexpr size_t kMost = (kArgumentBytes - kOtherArguments - sizeof(ValueArrays) - sizeof(ImageArrays) -
                                   sizeof(PooledArrays) - sizeof(Levels)) /
                                  sizeof(ForwardLinkArrays);

  ValueArrays first;  // what the first link rounds
  ImageArrays image;  // and where that comes from
  PooledArrays end;
  Levels levels;
  int count;
  union {  // without a constructor for each
    ForwardLinkArrays links[kMost];
  };

  ForwardChainArrays(const Value& value, const ImageArrays& from, const PooledArrays& to, const LevelSet& set)
      : first(value), image(from), end(to), levels(set), count(0) {}
};

/// Everything that a block has in shared memory.
struct ChainRoom {
  uint8_t* pool;
  int* offsets;
  ChannelNorm* terms;
  uint8_t *table, *units;  // of codes, of distances

  __device__ uint8_t* box() const { return pool; }
  __device__ uint8_t* weights(const TilePlan& plan) const {
    return pool + plan.box_height * plan.box_width * TilePlan::pixel_bytes(plan.unit_shift);
  }
  __device__ float* values() const { return reinterpret_cast<float*>(pool); }
  __device__ Wide* wide() const { return reinterpret_cast<Wide*>(pool); }
  __device__ int64_t* totals() const { return reinterpret_cast<int64_t*>(pool); }
};

}  // namespace apotnet::cuda
