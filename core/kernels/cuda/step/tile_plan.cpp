#include "core/kernels/cuda/step/tile_plan.h"

#include <algorithm>

namespace apotnet::cuda {
namespace {

int divided_up(int a, int b) { return (a + b - 1) / b; }

// The largest stage that fits, channels before taps; false where none does.
bool choose_stage(TilePlan& plan, int block_outputs, int bytes) {
  const auto fits = [&](int unit_shift, int taps) {
    const int64_t box = int64_t{plan.box_height} * plan.box_width * TilePlan::pixel_bytes(unit_shift);
    return taps << unit_shift <= TilePlan::kMostUnits &&
           box + int64_t{block_outputs} * TilePlan::weight_bytes(unit_shift, taps) <= bytes;
  };
  plan.stage_taps = plan.taps();
  for (plan.unit_shift = 2; plan.unit_shift >= 0; --plan.unit_shift)
    if (plan.channels % (16 << plan.unit_shift) == 0 && fits(plan.unit_shift, plan.stage_taps)) return true;
  plan.unit_shift = 0;
  for (; plan.stage_taps > 0; --plan.stage_taps)
    if (fits(0, plan.stage_taps)) return true;
  return false;
}

}  // namespace

std::optional<TilePlan> TilePlan::of(const ConvolutionSizes& sizes, int capacity, int block_outputs, int bytes) {
  TilePlan plan{};
  static_cast<ConvolutionSizes&>(plan) = sizes;
  plan.spread = plan.taps() == 1 ? plan.stride : 1;
  plan.step = plan.stride / plan.spread;

  std::optional<TilePlan> best;
  for (int across = 1; across <= plan.out_width; ++across) {
    plan.tile_width = divided_up(plan.out_width, across);
    plan.tiles_across = divided_up(plan.out_width, plan.tile_width);
    plan.box_width = (plan.tile_width - 1) * plan.step + plan.kernel_width;
    // The tallest tile that fits; of those with as many tiles the lowest.
    for (int height = std::min(plan.out_height, capacity / plan.tile_width); height > 0;
         height = plan.tile_height - 1) {
      plan.tiles_down = divided_up(plan.out_height, height);
      plan.tile_height = divided_up(plan.out_height, plan.tiles_down);
      plan.box_height = (plan.tile_height - 1) * plan.step + plan.kernel_height;
      if (choose_stage(plan, block_outputs, bytes)) {
        if (!best || plan.cost(capacity) < best->cost(capacity)) best = plan;
        break;
      }
    }
  }
  return best;
}

}  // namespace apotnet::cuda
