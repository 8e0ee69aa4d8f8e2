#pragma once

#include "core/kernels/cpu/codes/codes_conv.h"
#include "core/tensor/buffer.h"

namespace apotnet {

/// Weights for the direct kernels: s8 [outputs / 16][kernel_h][groups][16 outputs][4], where the groups cut a row of
/// the window, kernel_w * channels contiguous bytes of a frame, into fours. Missing channels and outputs are 0.
struct PackedWeights {
  PackedWeights(const CodesConvShape& shape, std::span<const int8_t> ohwi);

  const int8_t* data() const { return reinterpret_cast<const int8_t*>(buffer->data()); }
  int8_t at(int64_t output, int64_t row, int64_t group, int64_t i) const {
    return data()[(((output / 16 * kernel_h + row) * groups + group) * 16 + output % 16) * 4 + i];
  }

  int64_t output_blocks, kernel_h, groups;
  std::shared_ptr<Buffer> buffer;
};

/// Where 16-bit sums must be widened to 32 bits so that they are exact, found when the weights are loaded (F15).
///
/// vpmaddubsw adds two neighbouring u8 x s8 products, saturating; additions of such pairs wrap, so a block of products
/// needs only its final sum to fit: a_max * sum of positive weights <= 32,767 and a_max * sum of |negative weights| <=
/// 32,768, per 16-bit lane (one output channel, one pair of input channels). No assumption on the data.
struct WideningPlan {
  bool exact = false;        ///< false: even a single pair may saturate
  bool whole_window = true;  ///< no widening before the end of the window
  int64_t groups = 0;        ///< else after each so many groups of a window row, at most the whole row
};
WideningPlan plan_widening(const PackedWeights& weights, int64_t largest_activation);

}  // namespace apotnet
