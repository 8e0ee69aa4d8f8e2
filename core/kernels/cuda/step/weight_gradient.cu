#include "core/kernels/cuda/jobs.h"
#include "core/kernels/cuda/mma.h"
#include "core/kernels/cuda/step/pixel_tiles.h"
#include "core/kernels/cuda/step/step_kernels.h"

// dW[o, tap, c] = sum over output pixels p of gy[p, o] * code[p * stride + tap - padding, c], a product of matrices
// whose inner dimension is the output pixels. A block has up to 64 outputs, 16 channels and a window of up to 3 x 3
// taps of one convolution, and of its tiles of output pixels one slice. Of each tile it fetches gy and, once for all
// taps, the codes below; a warp multiplies 16 outputs with every tap for some of the pixels. At the end warps that have
// the same outputs add up. Sums of gy * code stay floats: the step of the codes comes with the end
// (weight_gradient_end.cu).

namespace apotnet::cuda {
namespace {

constexpr int kWarps = kThreads / 32;
constexpr int kChannels = 16;                            // of a block
constexpr int kSums = kWindow * kWindow * 2 * 4;         // of a lane
constexpr int kMostPixels = 128, kMostPatch = kThreads;  // of a tile
constexpr int kFetches = 2;                              // of gy, by a thread; of codes 1
constexpr int kMostUnits = kFetches * kThreads;          // of 8 outputs of gy, of a tile
constexpr int kPatchPitch = kChannels + 8;               // elements; odd multiples of 16 bytes have no bank conflicts
constexpr int kMostGradients = kMostUnits * 8 + kMostPixels * 8, kMostCodes = kMostPatch * kPatchPitch;
constexpr int kStaged = std::max(2 * (kMostGradients + kMostCodes), kWarps / 2 * 32 * kSums * 4);  // bytes

struct Job {
  const BFloat16* gy;
  const uint8_t* codes;
  float* partial;
  ConvolutionSizes sizes;
  PixelTiles tiles;
  int splits;
  int output_tiles;  // of 16 outputs, of a block: 4, 2 or 1
  int unit_bits;     // units of 8 outputs of a pixel are 2 to the power of this

  // Of a pixel; `number` counts those of a tile.
  __device__ int unit_of(int number) const { return number & ((1 << unit_bits) - 1); }
  // Elements from a pixel's gradients to the next one's in shared memory.
  __device__ int gradient_pitch() const { return output_tiles * 16 + 8; }
};

// What a block has of a job.
struct Part {
  int split;
  int output, channel;  // the first
  int tap_row, tap_column, tap_rows, tap_columns;

  __device__ static Part of(const Job& job, int block) {
    const ConvolutionSizes& sizes = job.sizes;
    const auto next = [&](int count) {
      const int digit = block % count;
      block /= count;
      return digit;
    };
    Part part;
    part.channel = next(sizes.channels / kChannels) * kChannels;
    part.output = next(sizes.outputs / (16 * job.output_tiles)) * 16 * job.output_tiles;
    part.tap_column = next((sizes.kernel_width + kWindow - 1) / kWindow) * kWindow;
    part.tap_row = next((sizes.kernel_height + kWindow - 1) / kWindow) * kWindow;
    part.split = block;
    part.tap_rows = min(kWindow, sizes.kernel_height - part.tap_row);
    part.tap_columns = min(kWindow, sizes.kernel_width - part.tap_column);
    return part;
  }
};

// Both, in shared memory: there every thread finds them again after a barrier and needs no registers for them.
struct Work {
  Job job;
  Part part;
};

// Blocks for each slice of a weight [O, KH, KW, C].
int64_t parts_of_split(const Shape& weight, int output_tiles) {
  const auto windows = [](int64_t kernel) { return (kernel + kWindow - 1) / kWindow; };
  return windows(weight[1]) * windows(weight[2]) * (weight[0] / (16 * output_tiles)) * (weight[3] / kChannels);
}

// A pixel of a tile or of a patch: where it lies from the first one, and elements from that one to it in memory.
struct Pixel {
  Word place;  // image, row, column in 10 bits each
  int offset;

  // The i-th of images of rows x columns pixels, `row_step` and `column_step` apart in a tensor of these sizes.
  __device__ static Pixel of(int i, int rows, int columns, int row_step, int column_step, int height, int width,
                             int channels) {
    const int line = i / columns, column = (i - line * columns) * column_step, image = line / rows,
              row = (line - image * rows) * row_step;
    return {static_cast<Word>(image << 20 | row << 10 | column), ((image * height + row) * width + column) * channels};
  }
  __device__ int image() const { return static_cast<int>(place >> 20); }
  __device__ int row() const { return static_cast<int>(place >> 10 & 1023); }
  __device__ int column() const { return static_cast<int>(place & 1023); }
};

// What is the same for every tile and takes divisions to find, in shared memory.
struct Tables {
  Pixel *units, *patch;  // of gradients, 8 outputs of a pixel each; of codes
  int* below;            // where in the patch an output pixel's first tap reads: elements

  __device__ void fill(const Job& job) const {
    const ConvolutionSizes& sizes = job.sizes;
    const PixelTiles& tiles = job.tiles;
    const int thread = static_cast<int>(threadIdx.x);
    for (int own = thread; own < tiles.pixels << job.unit_bits; own += kThreads) {
      units[own] = Pixel::of(own >> job.unit_bits, tiles.rows, tiles.columns, 1, 1, sizes.out_height, sizes.out_width,
                             sizes.outputs);
      units[own].offset += job.unit_of(own) * 8;
    }
    if (thread < kMostPixels) {
      // What fills up the last 16 pixels reads the first one's codes and has gradients of zero.
      const int i = thread < tiles.pixels ? thread : 0;
      below[thread] = kPatchPitch * Pixel::of(i, tiles.rows, tiles.columns, tiles.row_stride, tiles.column_stride,
                                              tiles.patch_rows, tiles.patch_columns, 1)
                                        .offset;
    }
    if (thread < tiles.patch)
      patch[thread] = Pixel::of(thread, tiles.patch_rows, tiles.patch_columns, tiles.row_step, tiles.column_step,
                                sizes.height, sizes.width, sizes.channels);
  }
};

using Sixteen = Pack<Word, 4>;  // bytes

// What a thread holds of the next tile while the block multiplies.
struct Fetched {
  Sixteen gradients[kFetches], codes;
};

// The tiles one by one: the first output pixel of each.
struct TileWalk {
  int image, row, column;

  __device__ static TileWalk at(const PixelTiles& tiles, int tile) {
    return {tile / (tiles.across * tiles.down) * tiles.images, tile / tiles.across % tiles.down * tiles.rows,
            tile % tiles.across * tiles.columns};
  }
  __device__ void advance(const Job& job) {
    column += job.tiles.columns;
    if (column < job.sizes.out_width) return;
    column = 0;
    row += job.tiles.rows;
    if (row < job.sizes.out_height) return;
    row = 0;
    image += job.tiles.images;
  }
};

__device__ Fetched fetch(const Work& work, const Tables& tables, const TileWalk& walk) {
  const auto& [job, part] = work;
  const ConvolutionSizes& sizes = job.sizes;
  const int thread = static_cast<int>(threadIdx.x), images = sizes.images - walk.image;
  Fetched result = {};

  const int rows = sizes.out_height - walk.row, columns = sizes.out_width - walk.column;
  const int first = (walk.image * sizes.out_height + walk.row) * sizes.out_width + walk.column;
  const BFloat16* const gradients = job.gy + int64_t{first} * sizes.outputs + part.output;
  for (int i = 0; i < kFetches; ++i) {
    const int own = thread + i * kThreads;
    if (own >= job.tiles.pixels << job.unit_bits) break;
    const Pixel p = tables.units[own];
    const bool inside = p.image() < images && p.row() < rows && p.column() < columns;
    if (inside) result.gradients[i] = load<4>(reinterpret_cast<const Word*>(gradients + p.offset), 0);
  }

  if (thread >= job.tiles.patch) return result;
  const int top = walk.row * sizes.stride - sizes.padding + part.tap_row,
            left = walk.column * sizes.stride - sizes.padding + part.tap_column;
  const Pixel p = tables.patch[thread];
  const auto y = static_cast<unsigned>(top + p.row()), x = static_cast<unsigned>(left + p.column());  // or very large
  const bool inside =
      p.image() < images && y < static_cast<unsigned>(sizes.height) && x < static_cast<unsigned>(sizes.width);
  const int corner = (walk.image * sizes.height + top) * sizes.width + left;
  const uint8_t* const codes = job.codes + int64_t{corner} * sizes.channels + part.channel;
  if (inside) result.codes = load<4>(reinterpret_cast<const Word*>(codes + p.offset), 0);
  return result;
}

// Two codes as bf16, which holds them exactly: the upper half of a float.
__device__ Word widened(Word codes, int first) {
  const Word a = bits_of(static_cast<float>(codes >> (8 * first) & 255)),
             b = bits_of(static_cast<float>(codes >> (8 * first + 8) & 255));
  return a >> 16 | (b & 0xFFFF0000u);
}

// Into shared memory, as bf16 [pixel][output] and [pixel of the patch][channel].
__device__ void stage(const Job& job, const Fetched& fetched, BFloat16* gradients, BFloat16* codes) {
  for (int i = 0; i < kFetches; ++i) {
    const int own = static_cast<int>(threadIdx.x) + i * kThreads;
    const int pixel = own >> job.unit_bits, unit = job.unit_of(own);
    if (pixel < kMostPixels)
      store(reinterpret_cast<Word*>(gradients), pixel * (job.gradient_pitch() / 2) + unit * 4, fetched.gradients[i]);
  }
  const int own = static_cast<int>(threadIdx.x);
  if (own < job.tiles.patch)
    for (int half = 0; half < 2; ++half) {
      const Word first = fetched.codes[2 * half], second = fetched.codes[2 * half + 1];
      store(reinterpret_cast<Word*>(codes), own * (kPatchPitch / 2) + 4 * half,
            Sixteen{{widened(first, 0), widened(first, 2), widened(second, 0), widened(second, 2)}});
    }
}

// A warp's place: the 16 outputs and the pixels, 16 at a time, that it multiplies.
struct WarpPart {
  int output_tile, slice, slices;

  __device__ static WarpPart of(const Job& job) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    return {warp % job.output_tiles, warp / job.output_tiles, kWarps / job.output_tiles};
  }
};

using WindowSums = float[kWindow][kWindow][2][4];

// kFull: the window is whole, nothing to ask.
template <bool kFull>
__device__ void multiply(const Work& work, const WarpPart& warp, const BFloat16* gradients, const BFloat16* codes,
                         const int* below, WindowSums& sums) {
  const auto& [job, part] = work;
  const int lane = static_cast<int>(threadIdx.x) % 32, pitch = job.gradient_pitch(), pixels = job.tiles.pixels;
  const int patch_row = job.tiles.patch_columns * kPatchPitch;
  gradients += (lane % 8 + lane / 16 * 8) * pitch + warp.output_tile * 16 + lane / 8 % 2 * 8;
  codes += lane / 16 * 8;
  for (int first = 16 * warp.slice; first < pixels; first += 16 * warp.slices) {
    Word a[4];
    load_transposed(a, gradients + first * pitch);
    const BFloat16* const own = codes + below[first + lane % 16];
    for (int row = 0; row < kWindow; ++row)
      for (int column = 0; column < kWindow; ++column) {
        if (!kFull && (row >= part.tap_rows || column >= part.tap_columns)) continue;
        Word b[4];
        load_transposed(b, own + row * patch_row + column * kPatchPitch);
        multiply_bf16(sums[row][column][0], a, {b[0], b[1]});
        multiply_bf16(sums[row][column][1], a, {b[2], b[3]});
      }
  }
}

// Adds what warps of the same outputs have, half of them to the other half until one is left: a fixed order.
__device__ void add_slices(const Job& job, const WarpPart& warp, float* room, WindowSums& sums) {
  for (int left = warp.slices / 2; left > 0; left /= 2) {
    const int place = warp.slice % left * job.output_tiles + warp.output_tile,
              lane = static_cast<int>(threadIdx.x) % 32;
    const auto each = [&](auto&& f) {
      for (int row = 0; row < kWindow; ++row)
        for (int column = 0; column < kWindow; ++column)
          for (int half = 0; half < 2; ++half) {
            const int number = (row * kWindow + column) * 2 + half;
            f(sums[row][column][half], int64_t{(place * (kSums / 4) + number) * 32 + lane} * 4);
          }
    };
    __syncthreads();
    if (warp.slice >= left && warp.slice < 2 * left)
      each([&](const float(&own)[4], int64_t i) { store(room, i, Pack<float, 4>{{own[0], own[1], own[2], own[3]}}); });
    __syncthreads();
    if (warp.slice < left)
      each([&](float(&own)[4], int64_t i) {
        const Pack<float, 4> other = load<4>(room, i);
        for (int j = 0; j < 4; ++j) own[j] += other[j];
      });
  }
}

__device__ void store_sums(const Work& work, const WarpPart& warp, const WindowSums& sums) {
  if (warp.slice != 0) return;
  const auto& [job, part] = work;
  const ConvolutionSizes& sizes = job.sizes;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int taps = sizes.kernel_height * sizes.kernel_width;
  for (int half = 0; half < 2; ++half) {
    const int output = part.output + warp.output_tile * 16 + lane / 4 + 8 * half;
    float* const place =
        job.partial + (int64_t{part.split} * sizes.outputs + output) * taps * sizes.channels + part.channel;
    for (int row = 0; row < kWindow; ++row)
      for (int column = 0; column < kWindow; ++column) {
        if (row >= part.tap_rows || column >= part.tap_columns) continue;
        const int tap = (part.tap_row + row) * sizes.kernel_width + part.tap_column + column;
        for (int n = 0; n < 2; ++n)
          store(place, int64_t{tap} * sizes.channels + 8 * n + lane % 4 * 2,
                Pack<float, 2>{{sums[row][column][n][2 * half], sums[row][column][n][2 * half + 1]}});
      }
  }
}

__global__ void __launch_bounds__(kThreads, 2) weight_gradient_kernel(const __grid_constant__ Jobs<Job> all) {
  SHARED_ARRAY(Sixteen, staged, kStaged / 16);
  SHARED_ARRAY(Pixel, units, kMostUnits);
  SHARED_ARRAY(Pixel, patch, kMostPatch);
  SHARED_ARRAY(int, below, kMostPixels);
  SHARED_ARRAY(Work, shared_work, 1);
  Work& work = shared_work[0];
  if (threadIdx.x == 0) {
    const JobPlace place = all.place();
    work = {all.jobs[place.job], Part::of(all.jobs[place.job], place.block)};
  }
  __syncthreads();
  const Job& job = work.job;
  const WarpPart warp = WarpPart::of(job);
  const Tables tables{units, patch, below};
  tables.fill(job);
  __syncthreads();
  const int begin = static_cast<int>(int64_t{job.tiles.count} * work.part.split / job.splits),
            end = static_cast<int>(int64_t{job.tiles.count} * (work.part.split + 1) / job.splits);
  BFloat16* const gradients = reinterpret_cast<BFloat16*>(staged);
  BFloat16* const codes = gradients + kMostGradients;
  const bool is_full = work.part.tap_rows == kWindow && work.part.tap_columns == kWindow;
  WindowSums sums = {};
  Fetched next = {};
  TileWalk walk = TileWalk::at(job.tiles, begin);
  if (begin < end) next = fetch(work, tables, walk);
  for (int tile = begin; tile < end; ++tile) {
    __syncthreads();  // of the tile before everything is multiplied
    stage(job, next, gradients, codes);
    __syncthreads();
    walk.advance(job);
    if (tile + 1 < end) next = fetch(work, tables, walk);
    if (is_full)
      multiply<true>(work, warp, gradients, codes, below, sums);
    else
      multiply<false>(work, warp, gradients, codes, below, sums);
  }
  add_slices(job, warp, reinterpret_cast<float*>(staged), sums);
  store_sums(work, warp, sums);
}

int output_tiles_of(int64_t outputs) { return outputs % 64 == 0 ? 4 : outputs % 32 == 0 ? 2 : 1; }

PixelTiles chosen_tiles(const ConvolutionSizes& sizes) {
  const int output_tiles = output_tiles_of(sizes.outputs);
  return cheapest_tiles(sizes, std::min(kMostPixels, kMostUnits / (2 * output_tiles)), kMostPatch,
                        16 * kWarps / output_tiles);
}

constexpr int64_t kMostStride = 8;  // a pixel's place has 10 bits

Job job_of(WeightGradient& gradient) {
  const Shape &x = gradient.x.shape(), &y = gradient.gy.shape(), &w = gradient.weight;
  const Conv2dGeometry& geometry = gradient.geometry;
  require(geometry.groups == 1 && w[0] % 16 == 0 && w[3] % kChannels == 0 && w[0] == y[3] && w[3] == x[3] &&
              y[0] == x[0] && y[1] == geometry.output_size(x[1], w[1]) && y[2] == geometry.output_size(x[2], w[2]),
          "weight gradient of shapes ", x, ", ", w, " and ", y);
  require(gradient.partial.shape() == Shape({gradient.partial.size(0), w[0], w[1], w[2], w[3]}),
          "partial sums of shape ", gradient.partial.shape(), " for a weight ", w);
  require(aligned_count(4, {&gradient.gy, &gradient.x.codes, &gradient.partial}) == 4,
          "a convolution's tensors do not begin at 16 bytes");
  require(std::max(gradient.gy.elements() / y[3], gradient.x.codes.elements() / x[3]) <= INT32_MAX, "too many pixels");
  Job job{};
  job.gy = input<BFloat16>(gradient.gy);
  job.codes = input<uint8_t>(gradient.x.codes);
  job.partial = output<float>(gradient.partial);
  job.sizes = sizes_of(x, w, geometry);
  job.output_tiles = output_tiles_of(w[0]);
  job.unit_bits = job.output_tiles == 4 ? 3 : job.output_tiles;
  job.splits = static_cast<int>(gradient.partial.size(0));
  job.tiles = chosen_tiles(job.sizes);
  require(job.tiles.count > 0 && geometry.stride <= kMostStride, "no tile of the weight gradient fits a stride of ",
          geometry.stride);
  return job;
}

}  // namespace

bool fits_weight_gradient(const ConvolutionSizes& sizes) {
  return sizes.stride <= kMostStride && chosen_tiles(sizes).count > 0;
}

int64_t splits_of(const Shape& gy, const Shape& weight) {
  // Enough slices for all processors of a device, and for each what is worth adding up.
  constexpr int64_t kMost = 32, kBlocks = 128, kPixels = 4096;
  const int output_tiles = output_tiles_of(weight[0]);
  const int64_t parts = parts_of_split(weight, output_tiles);
  const int64_t worth = (gy[0] * gy[1] * gy[2] * output_tiles + kPixels - 1) / kPixels;
  return std::clamp<int64_t>(std::min(worth, (kBlocks + parts - 1) / parts), 1, kMost);
}

void launch_weight_gradients(const std::vector<WeightGradient>& gradients) {
  JobQueue<Job> queue("convolution weight gradients", [](const Node& node, unsigned blocks, const Jobs<Job>& jobs) {
    launch(node, weight_gradient_kernel, blocks, jobs);
  });
  for (WeightGradient gradient : gradients) {
    const Job job = job_of(gradient);
    queue.add(job, parts_of_split(gradient.weight, job.output_tiles) * job.splits,
              gradient.gy.bytes() + gradient.x.codes.bytes(), gradient.partial.bytes());
  }
  queue.run();
}

}  // namespace apotnet::cuda
