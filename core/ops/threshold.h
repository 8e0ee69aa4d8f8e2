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

/// alpha's gradient times the layer's gradient scale.
Tensor scaled_gradient(const Tensor& gradient, double scale);

}  // namespace apotnet
