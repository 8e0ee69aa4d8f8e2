// Weight gradients of all convolutions of a step in one launch, against the reference one by one.
#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/mma.h"
#include "core/kernels/cuda/step/pixel_tiles.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "tests/emulation/block.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;
using cuda::kCuda;

namespace {

struct Convolution {
  Shape x, weight;
  Conv2dGeometry geometry;
  int64_t splits = 0;  // 0: as many as splits_of() says

  Shape y() const {
    return {x[0], geometry.output_size(x[1], weight[1]), geometry.output_size(x[2], weight[2]), weight[0]};
  }
};

// Kernels of one window and of several, 16, 32 and 64 outputs to a block, tiles of a part of an image, of one and of
// several, slices without a tile.
std::vector<Convolution> convolutions() {
  return {{{3, 9, 7, 16}, {16, 3, 3, 16}, {1, 1}},       {{5, 8, 8, 32}, {64, 3, 3, 32}, {1, 1}, 2},
          {{2, 11, 6, 16}, {48, 3, 3, 16}, {2, 1}, 3},   {{2, 9, 9, 32}, {32, 1, 1, 32}, {2, 0}, 1},
          {{1, 10, 12, 16}, {96, 5, 5, 16}, {1, 2}, 2},  {{1, 13, 15, 16}, {16, 7, 7, 16}, {2, 3}, 2},
          {{1, 20, 33, 80}, {16, 1, 1, 80}, {1, 0}, 40}, {{2, 4, 150, 16}, {16, 3, 3, 16}, {1, 0}, 5},
          {{2, 7, 8, 16}, {128, 1, 3, 16}, {1, 0}, 1}};
}

// One convolution's operands on both sides; gradients are whole numbers where their sums are to be exact.
struct Problem {
  Tensor gy, gw;  // on the host: of the reference
  Quantized x;
  cuda::WeightGradient job;

  Problem(const Convolution& convolution, bool whole, Philox& random) {
    const LevelSet& levels = LevelSet::for_activations(LevelMethod::uniform, 8);
    x = {Tensor(convolution.x, DType::u8), Tensor::scalar(whole ? 1 : 0.0173, DType::f32), &levels};
    for (uint8_t& code : x.codes.data<uint8_t>()) code = static_cast<uint8_t>(random.below(256));
    gy = random_tensor(convolution.y(), DType::f32, random);
    Tensor rounded(gy.shape(), DType::bf16);
    for (size_t i = 0; i < gy.data<float>().size(); ++i) {
      float& g = gy.data<float>()[i];
      if (whole) g = static_cast<float>(random.below(15)) - 7;
      rounded.data<BFloat16>()[i] = cuda::bf16_of(g);
      g = cuda::float_of(rounded.data<BFloat16>()[i]);
    }
    gw = Tensor(convolution.weight, DType::f32);
    reference_kernels().conv->conv2d_codes_backward_weight(gy, x, convolution.geometry, gw);
    check_data(gw);
    const int64_t splits = convolution.splits ? convolution.splits : cuda::splits_of(gy.shape(), convolution.weight);
    const Shape& w = convolution.weight;
    job = {rounded.on(kCuda),
           {x.codes.on(kCuda), x.step.on(kCuda), &levels},
           convolution.geometry,
           w,
           Tensor({splits, w[0], w[1], w[2], w[3]}, DType::f32, kCuda)};
  }
  // The sum of the slices.
  Tensor sum() const {
    const Tensor partial = job.partial.on({});
    const auto parts = partial.data<float>();
    Tensor result(gw.shape(), DType::f32);
    const auto count = static_cast<size_t>(result.elements());
    for (size_t i = 0; i < count; ++i) {
      double total = 0;
      for (size_t j = i; j < parts.size(); j += count) total += parts[j];
      result.data<float>()[i] = static_cast<float>(total * x.step.item());
    }
    return result;
  }
};

std::vector<Problem> problems(const std::vector<Convolution>& all, bool whole, uint64_t seed) {
  cuda_device();
  Philox random = random_numbers(seed);
  std::vector<Problem> result;
  for (const Convolution& convolution : all) result.emplace_back(convolution, whole, random);
  return result;
}

void run(const std::vector<Problem>& all) {
  std::vector<cuda::WeightGradient> jobs;
  for (const Problem& problem : all) jobs.push_back(problem.job);
  cuda::launch_weight_gradients(jobs);
}

}  // namespace

TEST_CASE("cuda: weight gradients of many convolutions at once are those of the reference") {
  for (const bool whole : {true, false}) {
    const std::vector<Problem> all = problems(convolutions(), whole, whole ? 1001 : 1002);
    run(all);
    for (size_t i = 0; i < all.size(); ++i) {
      CAPTURE(i);
      if (whole)
        CHECK(same_bits(all[i].sum(), all[i].gw));
      else
        CHECK(relative_difference(all[i].sum(), all[i].gw) < 2e-5);
    }
  }
}

TEST_CASE("cuda: weight gradients have the same bits in whatever order blocks and threads run") {
  const std::vector<Problem> all = problems({convolutions()[1], convolutions()[4], convolutions()[7]}, false, 1003);
  std::vector<Tensor> first;
  for (const uint64_t seed : {5, 6}) {
    emulation::seed(seed);
    run(all);
    for (size_t i = 0; i < all.size(); ++i) {
      const Tensor partial = all[i].job.partial.on({});
      if (seed == 5)
        first.push_back(partial);
      else
        CHECK(same_bits(partial, first[i]));
    }
  }
}

TEST_CASE("cuda: a launch of weight gradients counts each byte once, and refuses what it cannot do") {
  std::vector<Problem> all = problems({convolutions()[0], convolutions()[3]}, false, 1004);
  const auto nodes = cuda::Context::get().nodes_of([&] { run(all); });
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0].reads == 3 * 9 * 7 * 16 * 3 + 2 * 32 * (5 * 5 * 2 + 9 * 9));
  CHECK(nodes[0].writes == all[0].job.partial.bytes() + all[1].job.partial.bytes());
  all[0].job.geometry.padding = 0;
  CHECK_THROWS_AS(run(all), Error);
}

TEST_CASE("cuda: slices of ResNet-20's convolutions fill a device, those of wide layers stay few") {
  CHECK(cuda::splits_of({128, 32, 32, 16}, {16, 3, 3, 16}) == 32);
  CHECK(cuda::splits_of({128, 16, 16, 32}, {32, 3, 3, 32}) == 16);
  CHECK(cuda::splits_of({128, 8, 8, 64}, {64, 3, 3, 64}) == 8);
  CHECK(cuda::splits_of({256, 7, 7, 512}, {512, 3, 3, 512}) == 1);
  CHECK(cuda::splits_of({1, 3, 3, 16}, {16, 3, 3, 16}) == 1);
}

TEST_CASE("cuda: tiles of pixels cover an image and what they need fits") {
  for (const auto& [size, stride, kernel] :
       {std::tuple{32, 1, 3}, {16, 2, 3}, {8, 1, 3}, {7, 1, 3}, {56, 1, 3}, {56, 2, 1}, {112, 2, 7}, {1, 1, 1}}) {
    CAPTURE(size);
    const cuda::ConvolutionSizes sizes{5, size * stride, size * stride, 16, size, size, 16, kernel, kernel, stride, 1};
    const cuda::PixelTiles tiles = cuda::cheapest_tiles(sizes, 128, 256, 64);
    CHECK(tiles.pixels <= 128);
    CHECK(tiles.patch <= 256);
    CHECK(tiles.rows * tiles.down >= size);
    CHECK(tiles.columns * tiles.across >= size);
    CHECK(tiles.count * tiles.images >= 5 * tiles.down * tiles.across);
  }
  const cuda::PixelTiles tiles = cuda::cheapest_tiles({128, 32, 32, 16, 32, 32, 16, 3, 3, 1, 1}, 128, 256, 128);
  CHECK(tiles.pixels == 128);  // nothing of ResNet-20's first stage is wasted
}
