#pragma once

#include "core/quant/quantized.h"

namespace apotnet {

/// What a convolution needs besides its tensors. Windows are square in stride and padding, not in size.
struct Conv2dGeometry {
  int64_t stride = 1;
  int64_t padding = 0;  // zeros on every side
  int64_t groups = 1;   // input and output channels are cut into this many independent convolutions

  int64_t output_size(int64_t input, int64_t kernel) const { return (input + 2 * padding - kernel) / stride + 1; }
};

/// Convolutions. x [N, H, W, C], w [O, KH, KW, C / groups], y [N, OH, OW, O]; a gradient has the shape of its tensor.
class ConvKernels {
 public:
  virtual ~ConvKernels() = default;

  virtual void conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const = 0;
  virtual void conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                                     Tensor& gx) const = 0;
  virtual void conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                                      Tensor& gw) const = 0;

  /// y = float(sum of code products) * (x.step * w.step), the sum exact where both codes are integers (F9).
  virtual void conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry,
                            Tensor& y) const = 0;
  /// conv2d_codes, and of its output mean [O] and biased variance [O] (norm.h), summed while the sums are in the cache.
  virtual void conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry,
                                       Tensor& y, Tensor& mean, Tensor& variance) const = 0;
  /// The two backward convolutions through the values code * step.
  virtual void conv2d_codes_backward_input(const Tensor& gy, const Quantized& w, const Conv2dGeometry& geometry,
                                           Tensor& gx) const = 0;
  virtual void conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                            Tensor& gw) const = 0;
};

}  // namespace apotnet
