// How an image is cut into the tiles of a fused step's convolutions; with a kernel of its own, so only in the
// emulation.
#include "core/kernels/cuda/step/code_tile.h"
#include "tests/emulation/convolutions_of_codes.h"

using namespace apotnet;
using namespace apotnet::test;
using namespace apotnet::cuda;

namespace {

// counts [H, W] += 1 for each pixel that the block's tile is in charge of
__global__ void in_charge_kernel(TilePlan plan, int32_t* counts) {
  const Tile tile = Tile::of(plan);
  if (threadIdx.x != 0) return;
  for (int row = max(tile.row, 0); row < tile.end_row; ++row)
    for (int column = max(tile.column, 0); column < tile.end_column; ++column)
      atomicAdd(counts + (int64_t{tile.image} * plan.height + row) * plan.width + column, 1);
}

}  // namespace

TEST_CASE("cuda: every input pixel has one tile in charge of it") {
  Context::get();
  for (const ConvProblem& problem : convolutions_of_codes())
    for (const int capacity : {20, 64, 256}) {
      CAPTURE(problem.text());
      CAPTURE(capacity);
      const auto found = TilePlan::of(sizes_of(problem.x(), problem.w(), problem.geometry), capacity, 64, 46592);
      REQUIRE(found.has_value());
      const TilePlan& plan = *found;
      CHECK(plan.tile_height * plan.tile_width <= capacity);
      Tensor counts = Tensor::zeros({problem.images, problem.height, problem.width}, DType::s32, kCuda);
      launch({"in charge", 0, 0}, in_charge_kernel, static_cast<unsigned>(plan.blocks()), plan,
             output<int32_t>(counts));
      for (const double count : doubles(counts.on({}))) REQUIRE(count == 1);
    }
}
