#pragma once

#include <string>

#include "core/autograd/variable.h"

namespace apotnet {

/// The one element of a scalar for a guard to look at; `elsewhere`, which it lets pass, where it lies on a device:
/// there the kernels look and tell later (accelerator.h).
double item_of_host(const Tensor& scalar, double elsewhere);

/// What the quantizers ask of a clipping threshold: Error(diverged) naming `layer` unless alpha is positive and finite.
/// `which` says whose it is, "weights" or "input".
void require_usable_threshold(const Variable& alpha, const std::string& layer, const char* which);

/// How the gradient of a clipping threshold is formed.
struct ThresholdGradient {
  double scale = 1;             ///< factor on it; the forward pass is unchanged
  bool reparameterized = true;  ///< every value contributes (RCF: F6, F8); else the clipped ones alone (F16)
};

/// The gradient of alpha when only the clipped values contribute (F16); g and x [...] alike. `has_sign`: values are
/// clipped at -alpha too. A scalar.
Tensor clipped_threshold_gradient(const Tensor& g, const Tensor& x, const Variable& alpha, bool has_sign);

/// alpha's gradient times the layer's gradient scale.
Tensor scaled_gradient(const Tensor& gradient, double scale);

}  // namespace apotnet
