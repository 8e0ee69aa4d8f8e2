#pragma once

#include <string>

#include "core/autograd/variable.h"

namespace apotnet {

/// What the quantizers ask of a clipping threshold: Error(diverged) naming `layer` unless alpha is positive and finite.
/// `which` says whose it is, "weights" or "input".
void require_usable_threshold(const Variable& alpha, const std::string& layer, const char* which);

/// alpha's gradient times the layer's gradient scale.
Tensor scaled_gradient(const Tensor& gradient, double scale);

}  // namespace apotnet
