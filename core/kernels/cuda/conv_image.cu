// The weight gradient of a convolution of images: of three input channels there is nothing to multiply on tensor cores,
// and a vendor's kernels leave most of a device idle. Products and sums are float32.
#include "core/kernels/cuda/convolution_sizes.h"
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/step/stored_gradient.h"

namespace apotnet::cuda {
namespace {

constexpr int kMostInputs = 4;                               // of the input: more are for tensor cores
constexpr int kOutputs = 16;                                 // channels of gy, of a block
constexpr int kTileRows = kThreads / 32, kTileColumns = 32;  // output pixels, a row for each warp
constexpr int kQuads = kTileRows * kTileColumns * kOutputs / 4;
constexpr int kMostBox = 4096;             // floats of the input below a tile
constexpr int kBlocks = 256, kGroup = 16;  // at most; blocks whose sums one of them adds up first
constexpr int kEntries = kOutputs * 32;    // sums of a block: an output's terms, one for each lane

struct ImagePlan : ConvolutionSizes {
  int terms;                  // of an output, kernel position by kernel position
  int box_height, box_width;  // pixels of the input below a tile
  int tiles_down, tiles_across, tiles;
};

// gy as it is stored, or as it is computed where it is read.
struct StoredGradient {
  const float* gy;

  struct Terms {};
  __device__ Terms terms(int) const { return {}; }
  __device__ Pack<float, 4> at(int64_t i, const Terms&) const { return load<4>(gy, i); }
};
struct ComputedGradient {  // NormInputGradient
  GradientInput g;
  const float* x;
  const ChannelGradient* coefficients;

  struct Terms {
    ChannelGradient own[4];
  };
  __device__ Terms terms(int channel) const {
    return {{coefficients[channel], coefficients[channel + 1], coefficients[channel + 2], coefficients[channel + 3]}};
  }
  __device__ Pack<float, 4> at(int64_t i, const Terms& terms) const {
    Pack<float, 4> result = g.at<4>(i);
    const Pack<float, 4> xs = load<4>(x, i);
    for (int j = 0; j < 4; ++j)
      result[j] = norm_input_gradient(result[j], xs[j], terms.own[j].factor, terms.own[j].slope, terms.own[j].constant);
    return result;
  }
};

// Stages the tile's part of gy, [pixel, output], and the input below it, [pixel, channel]; zeros beyond the edges.
template <typename Gradient>
__device__ void stage(const ImagePlan& plan, int tile, int first_output, const Gradient& gy, const float* x,
                      Pack<float, 4>* gradients, float* box) {
  const int thread = static_cast<int>(threadIdx.x);
  const int image = tile / (plan.tiles_across * plan.tiles_down);
  const int top = tile / plan.tiles_across % plan.tiles_down * kTileRows,
            left = tile % plan.tiles_across * kTileColumns;
  const int first_channel = first_output + thread % (kOutputs / 4) * 4;
  const auto terms = gy.terms(first_channel);
  Pack<float, 4> own[kQuads / kThreads] = {};
  for (int i = 0; i < kQuads / kThreads; ++i) {
    const int n = thread + i * kThreads, pixel = n / (kOutputs / 4);
    const int row = top + pixel / kTileColumns, column = left + pixel % kTileColumns;
    const int64_t place = (int64_t{image} * plan.out_height + row) * plan.out_width + column;
    if (row < plan.out_height && column < plan.out_width) own[i] = gy.at(place * plan.outputs + first_channel, terms);
  }
  for (int i = 0; i < kQuads / kThreads; ++i) gradients[thread + i * kThreads] = own[i];

  const int line = plan.box_width * plan.channels;
  for (int n = thread; n < plan.box_height * line; n += kThreads) {
    const int down = n / line, rest = n - down * line;
    const int row = top * plan.stride - plan.padding + down,
              column = left * plan.stride - plan.padding + rest / plan.channels;
    const int64_t place = (int64_t{image} * plan.height + row) * plan.width + column;
    const bool inside = row >= 0 && row < plan.height && column >= 0 && column < plan.width;
    box[n] = inside ? x[place * plan.channels + rest % plan.channels] : 0.0f;
  }
}

// Adds up what `count` blocks have left in `partial`, kEntries each and `step` blocks apart; an entry of the thread
// each.
__device__ void add_up(const float* partial, int count, int step, float (&totals)[kEntries / kThreads]) {
  for (float& total : totals) total = 0;
#pragma unroll 4
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < kEntries / kThreads; ++k)
      totals[k] += partial[int64_t{i} * step * kEntries + k * kThreads + static_cast<int>(threadIdx.x)];
}

// A lane has one term of each output, and sums over a row of each tile.
template <typename Gradient>
__global__ void __launch_bounds__(kThreads) image_weight_gradient_kernel(ImagePlan plan, Gradient gy, const float* x,
                                                                         float* gw, float* partial, unsigned* tickets) {
  using Quad = Pack<float, 4>;
  SHARED_ARRAY(Quad, gradients, kQuads);
  SHARED_ARRAY(float, box, kMostBox);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int first_output = static_cast<int>(blockIdx.y) * kOutputs;
  const int term = lane < plan.terms ? lane : 0, tap = term / plan.channels;
  const int pixel_of_term = tap / plan.kernel_width * plan.box_width + tap % plan.kernel_width;
  const float* const values =
      box + (warp * plan.stride * plan.box_width + pixel_of_term) * plan.channels + (term - tap * plan.channels);

  float sums[kOutputs] = {};
  for (int tile = static_cast<int>(blockIdx.x); tile < plan.tiles; tile += static_cast<int>(gridDim.x)) {
    __syncthreads();  // the stage may still be read
    stage(plan, tile, first_output, gy, x, gradients, box);
    __syncthreads();
#pragma unroll 4
    for (int column = 0; column < kTileColumns; ++column) {
      const float value = values[column * plan.stride * plan.channels];
      for (int q = 0; q < kOutputs / 4; ++q) {
        const Quad g = gradients[(warp * kTileColumns + column) * (kOutputs / 4) + q];
        for (int j = 0; j < 4; ++j) sums[4 * q + j] = fmaf(g[j], value, sums[4 * q + j]);
      }
    }
  }

  __syncthreads();
  auto* const of_warps = reinterpret_cast<float*>(gradients);  // [warp, entry]
  for (int j = 0; j < kOutputs; ++j) of_warps[warp * kEntries + j * 32 + lane] = sums[j];
  __syncthreads();
  float totals[kEntries / kThreads];
  const auto leave = [&](int block) {
    for (int k = 0; k < kEntries / kThreads; ++k)
      partial[int64_t{block} * kEntries + k * kThreads + thread] = totals[k];
  };
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x), group = block / kGroup,
            groups = (blocks + kGroup - 1) / kGroup;
  partial += int64_t{blockIdx.y} * blocks * kEntries;
  tickets += static_cast<int>(blockIdx.y) * (kBlocks / kGroup + 1);
  add_up(of_warps, kTileRows, 1, totals);
  leave(block);
  const int members = min(kGroup, blocks - group * kGroup);
  if (!last_block(tickets + 1 + group, static_cast<unsigned>(members))) return;
  add_up(partial + int64_t{group} * kGroup * kEntries, members, 1, totals);
  leave(group * kGroup);
  if (!last_block(tickets, static_cast<unsigned>(groups))) return;
  add_up(partial, groups, kGroup, totals);
  if (lane < plan.terms)
    for (int k = 0; k < kEntries / kThreads; ++k)
      gw[int64_t{first_output + k * (kThreads / 32) + warp} * plan.terms + lane] = totals[k];
}

ImagePlan plan_of(const ConvolutionSizes& sizes) {
  ImagePlan plan{};
  static_cast<ConvolutionSizes&>(plan) = sizes;
  plan.terms = plan.taps() * plan.channels;
  plan.box_height = (kTileRows - 1) * plan.stride + plan.kernel_height;
  plan.box_width = (kTileColumns - 1) * plan.stride + plan.kernel_width;
  plan.tiles_down = (plan.out_height + kTileRows - 1) / kTileRows;
  plan.tiles_across = (plan.out_width + kTileColumns - 1) / kTileColumns;
  plan.tiles = plan.images * plan.tiles_down * plan.tiles_across;
  return plan;
}

}  // namespace

bool is_of_images(const Shape& x, const Shape& w, const Conv2dGeometry& geometry) {
  if (geometry.groups != 1 || w[0] % kOutputs != 0 || w[3] > kMostInputs || w[1] * w[2] * w[3] > 32) return false;
  const int64_t height = (kTileRows - 1) * geometry.stride + w[1], width = (kTileColumns - 1) * geometry.stride + w[2];
  return height <= kMostBox && width <= kMostBox && height * width * w[3] <= kMostBox &&
         w[0] / kOutputs * (kBlocks / kGroup + 1) <= Context::kTickets && x.elements() <= INT32_MAX;
}

namespace {

template <typename Gradient>
void run(const Shape& y, size_t reads, const Gradient& gy, const Tensor& x, const Conv2dGeometry& geometry,
         Tensor& gw) {
  require(is_of_images(x.shape(), gw.shape(), geometry), "not a convolution of images: ", x.shape(), " by ",
          gw.shape());
  require(x.size(3) == gw.size(3) && y == Shape{x.size(0), geometry.output_size(x.size(1), gw.size(1)),
                                                geometry.output_size(x.size(2), gw.size(2)), gw.size(0)},
          "an image weight gradient of ", x.shape(), " and ", y, " for a weight ", gw.shape());
  const ImagePlan plan = plan_of(sizes_of(x.shape(), gw.shape(), geometry));
  const dim3 grid(static_cast<unsigned>(std::min(plan.tiles, kBlocks)), static_cast<unsigned>(plan.outputs / kOutputs));
  Scratch<float> partial(size_t{grid.x} * grid.y * kEntries);
  launch({"image weight gradient", reads + x.bytes(), gw.bytes()}, image_weight_gradient_kernel<Gradient>, grid, plan,
         gy, input<float>(x), output<float>(gw), partial.data(), Context::get().tickets());
}

}  // namespace

void launch_image_weight_gradient(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry, Tensor& gw) {
  run(gy.shape(), gy.bytes(), StoredGradient{input<float>(gy)}, x, geometry, gw);
}

void launch_image_weight_gradient(const NormInputGradient& gy, const Tensor& x, const Conv2dGeometry& geometry,
                                  Tensor& gw) {
  require(!gy.x.sums && gy.g.shape() == gy.x.shape(), "an image's convolution with an output of codes");
  const ComputedGradient computed{GradientInput(gy.g), input<float>(gy.x.values),
                                  reinterpret_cast<const ChannelGradient*>(input<float>(gy.coefficients))};
  run(gy.g.shape(), gy.g.bytes() + gy.x.values.bytes(), computed, x, geometry, gw);
}

}  // namespace apotnet::cuda
