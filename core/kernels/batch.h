#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

/// A data set that lies where the network does, and its images as a network takes them.
struct ResidentImages {
  Tensor images;  ///< u8 [M, H, W, C]
  Tensor labels;  ///< s32 [M]
  Tensor tables;  ///< f32 [C, 256]: what a byte of each channel becomes
  int64_t pad = 0;
};

/// Batches out of it.
class BatchKernels {
 public:
  virtual ~BatchKernels() = default;

  /// For each row of placements s32 [N, 4] = (sample, top, left, mirrored): the sample padded by `pad` zero bytes, cut
  /// at (top, left) to its former size, mirrored, each byte by its table; out f32 [N, H, W, C], labels s32 [N].
  virtual void gather_batch(const ResidentImages& data, const Tensor& placements, Tensor& out,
                            Tensor& labels) const = 0;
};

}  // namespace apotnet
