#include "core/kernels/cpu/codes/packed_weights.h"

#include <algorithm>
#include <cstring>

namespace apotnet {

PackedWeights::PackedWeights(const CodesConvShape& s, std::span<const int8_t> ohwi)
    : output_blocks(s.padded_outputs() / 16), kernel_h(s.kernel_h) {
  const int64_t channels = CodeFrame(s).channels;
  groups = s.kernel_w * channels / 4;
  buffer = Buffer::allocate(static_cast<size_t>(output_blocks * kernel_h * groups * 64), {});
  std::memset(buffer->data(), 0, buffer->bytes());
  auto* packed = reinterpret_cast<int8_t*>(buffer->data());
  for (int64_t o = 0; o < s.outputs; ++o)
    for (int64_t i = 0; i < s.kernel_h; ++i)
      for (int64_t j = 0; j < s.kernel_w; ++j)
        for (int64_t c = 0; c < s.channels; ++c) {
          const int64_t byte = j * channels + c;
          packed[(((o / 16 * kernel_h + i) * groups + byte / 4) * 16 + o % 16) * 4 + byte % 4] =
              ohwi[static_cast<size_t>(((o * s.kernel_h + i) * s.kernel_w + j) * s.channels + c)];
        }
}

namespace {

// The two sides of a 16-bit lane's range that its products can reach.
struct LaneBound {
  int64_t positive = 0, negative = 0;
  void add(int64_t weight) { (weight > 0 ? positive : negative) += std::abs(weight); }
  bool fits(int64_t largest_activation) const {
    return largest_activation * positive <= 32767 && largest_activation * negative <= 32768;
  }
};

// Whether every lane fits when sums are widened after `rows` rows of the window, or after `groups` groups of one row.
bool blocks_fit(const PackedWeights& w, int64_t rows, int64_t groups, int64_t largest_activation) {
  for (int64_t output = 0; output < 16 * w.output_blocks; ++output)
    for (int64_t pair = 0; pair < 4; pair += 2)
      for (int64_t row = 0; row < w.kernel_h; row += rows)
        for (int64_t group = 0; group < w.groups; group += groups) {
          LaneBound bound;
          for (int64_t i = row; i < std::min(row + rows, w.kernel_h); ++i)
            for (int64_t g = group; g < std::min(group + groups, w.groups); ++g)
              for (int64_t k = pair; k < pair + 2; ++k) bound.add(w.at(output, i, g, k));
          if (!bound.fits(largest_activation)) return false;
        }
  return true;
}

}  // namespace

WideningPlan plan_widening(const PackedWeights& weights, int64_t largest_activation) {
  if (blocks_fit(weights, weights.kernel_h, weights.groups, largest_activation)) return {true, true, weights.groups};
  for (int64_t groups = weights.groups; groups >= 1; groups = groups > 1 ? (groups + 1) / 2 : 0)
    if (blocks_fit(weights, 1, groups, largest_activation)) return {true, false, groups};
  return {};
}

}  // namespace apotnet
