#pragma once

#include <vector>

#include "core/kernels/conv.h"

// The lines of the contract that an integer network is made of (deploy/batch_network.h): for a batch of images at once
// what core/kernels/cpu/codes does for one. They are a family of the contract, and not functions of the CUDA back end,
// so that deploy sees no device, the reference defines every line and `checked` compares them call by call.
//
// Codes are dense, [N, H, W, C] with C rounded up at will: what stands in channels that no weight reads does not matter
// and is never written.

namespace apotnet {

/// A convolution of codes to exact sums s32 [N, OH, OW, O].
struct CodesConvolution {
  Tensor x;  ///< u8, or s8 where the codes have a sign; at least C channels
  Tensor w;  ///< s8 [O, KH, KW, C / groups]
  Conv2dGeometry geometry{};
};

/// What makes a code of the sum of a channel. The definition: r of its thresholds are reached, then the code is
/// levels[r], or levels[count - r] where it falls. Where `factor` is defined,
///   code = table[clamp(floor(fma(sum, factor, offset)), 0, top)]
/// is the same for every sum that can occur; whoever fills it in has checked that (deploy/thresholds.h).
struct ChannelThresholds {
  Tensor values;              ///< s32 [O, count] ascending
  Tensor rising;              ///< u8 [O]
  Tensor levels;              ///< u8 [count + 1] ascending
  Tensor factor{}, offset{};  ///< f32 [O], or not defined
  Tensor table{};             ///< u8 [512]: the code of a half step (F2)
  int32_t top = 0;            ///< 2 K
};

/// What follows a sum or a float on its way to a float value, in exactly these float32 operations:
///   value = y * scale + shift, + shortcut, max(., 0),   y = float(sum) * step
struct ValueTerms {
  float step = 1;
  Tensor scale{}, shift{};  ///< f32 [C], or not defined
  Tensor shortcut{};        ///< f32 [N, H, W, C], or not defined
  bool relu = false;
};

/// A quantizer: code = table[floor(2 K clamp(value / alpha, 0, 1))], where codes are s8
/// sign(value) * table[floor(2 K clamp(|value| / alpha, 0, 1))] (F7, F20).
struct CodesOutput {
  float alpha = 1;
  int32_t k = 1;
  bool ties_to_lower = false;
  Tensor table;  ///< u8 [512]: the code of a half step
  Tensor codes;  ///< u8 or s8 [N, H, W, at least C]
};

/// Where values go.
struct ValuesOutput {
  Tensor values{};                   ///< f32 [N, H, W, C], or not defined
  std::vector<CodesOutput> codes{};  ///< at most two
};

class CodesKernels {
 public:
  virtual ~CodesKernels() = default;

  /// Convolution, thresholds, codes of the next convolution: u8 [N, OH, OW, at least O].
  virtual void convolve_to_codes(const CodesConvolution& convolution, const ChannelThresholds& thresholds,
                                 Tensor& codes) const = 0;
  /// Convolution to values.
  virtual void convolve_to_values(const CodesConvolution& convolution, const ValueTerms& terms,
                                  ValuesOutput& out) const = 0;
  /// The same of a plane of floats y [N, H, W, C].
  virtual void plane_to_values(const Tensor& y, const ValueTerms& terms, ValuesOutput& out) const = 0;
};

}  // namespace apotnet
