#pragma once

#include <string>

#include "core/autograd/variable.h"
#include "core/kernels/quantize.h"
#include "core/ops/threshold.h"

namespace apotnet {

/// Rounds normalised weights to the nearest signed level, clipping at the learned threshold alpha (F5; paper
/// section 2.2).
///
///   z = clamp(w_hat / alpha, -1, 1),   q = sign(z) * nearest level of |z|,   value = q * alpha = code * step
///
/// w_hat  [O, KH, KW, I]; alpha scalar > 0, Error(diverged) naming `layer` otherwise.
/// Returns codes (s8 where K <= 127) with their step. Gradients flow to w_hat and alpha (F6).
/// `learning` says how alpha's gradient is formed.
Variable quantize_weight(const Variable& w_hat, const Variable& alpha, const LevelSet& levels, QuantizerVariant variant,
                         const std::string& layer, const ThresholdGradient& learning = {});

/// Rounds activations to the nearest level, clipping at the learned threshold alpha (F7).
///
///   z = x / alpha,   q = nearest level of clamp(z, 0, 1),   value = q * alpha = code * step
///
/// x  [N, H, W, C], usually behind a ReLU; a negative x takes level 0. The rest as above; codes are u8 where K <= 255
/// (F8).
Variable quantize_activation(const Variable& x, const Variable& alpha, const LevelSet& levels, QuantizerVariant variant,
                             const std::string& layer, const ThresholdGradient& learning = {});

/// Rounds signed activations, such as a linear bottleneck's, by the rule of the weights (F20; F5 and F6 of the
/// imagenet variant): sign and magnitude, clipped at +-alpha, not normalised. Codes are s8 where K <= 127.
Variable quantize_signed_activation(const Variable& x, const Variable& alpha, const LevelSet& levels,
                                    const std::string& layer, const ThresholdGradient& learning = {});

/// Weights of the first and last layer in 8 bits: round(w / m * 127) / 127 * m with m the signed maximum (apot_compat)
/// or the largest magnitude (absmax8); the gradient passes unchanged (F12). Stays float. Error(diverged) naming `layer`
/// when m is 0 or not finite.
Variable round_to_8bit(const Variable& w, FirstLastRule rule, const std::string& layer);

}  // namespace apotnet
