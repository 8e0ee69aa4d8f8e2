#pragma once

#include "core/quant/level_set.h"
#include "core/tensor/tensor.h"

namespace apotnet {

/// A quantized tensor: integer codes times one step, value = code * step, step = alpha / K rounded once (F1).
///
/// codes  u8 (activations) or s8 (weights); where the level set is too wide for 8 bits, the same integers in the
///        float type of the data: such a set is convolved in floating point, everything else in exact integers
/// step   scalar, f32 or f64
struct Quantized {
  Tensor codes;
  Tensor step;
  const LevelSet* levels = nullptr;

  bool defined() const { return codes.defined(); }
  const Shape& shape() const { return codes.shape(); }
  /// Codes that a convolution sums as exact integers.
  bool exact() const { return !is_floating(codes.dtype()); }

  /// Room for the codes of `x`, signed for weights.
  static Quantized like(const Tensor& x, const LevelSet& levels, bool has_sign) {
    const bool fits = has_sign ? levels.fits_s8() : levels.fits_u8();
    const DType dtype = fits ? (has_sign ? DType::s8 : DType::u8) : x.dtype();
    return {Tensor(x.shape(), dtype, x.device()), Tensor({}, x.dtype(), x.device()), &levels};
  }
};

}  // namespace apotnet
