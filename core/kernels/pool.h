#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

struct PoolGeometry {
  int64_t window = 2;
  int64_t stride = 2;
  int64_t padding = 0;  // at most window / 2; padded zeros count in an average, never in a maximum

  int64_t output_size(int64_t input) const { return (input + 2 * padding - window) / stride + 1; }
};

/// Pooling of x [N, H, W, C] to y [N, OH, OW, C].
class PoolKernels {
 public:
  virtual ~PoolKernels() = default;

  virtual void average_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y) const = 0;
  virtual void average_pool_backward(const Tensor& gy, const PoolGeometry& geometry, Tensor& gx) const = 0;
  /// `position` s32 [N, OH, OW, C]: where in the image (row * W + column) the first maximum of each window stood.
  virtual void max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const = 0;
  virtual void max_pool_backward(const Tensor& gy, const Tensor& position, const PoolGeometry& geometry,
                                 Tensor& gx) const = 0;
};

}  // namespace apotnet
