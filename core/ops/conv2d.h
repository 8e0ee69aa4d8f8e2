#pragma once

#include "core/autograd/variable.h"
#include "core/kernels/conv.h"

namespace apotnet {

/// Two-dimensional convolution without bias. x [N, H, W, C], w [O, KH, KW, C / groups] -> [N, OH, OW, O].
///
/// Both floats: floating-point sums. Both quantized: exact integer sums of the codes, times the product of the two
/// steps (F9); the gradients flow to the values code * step. Error(internal) with both shapes when they do not fit.
Variable conv2d(const Variable& x, const Variable& w, const Conv2dGeometry& geometry);
Variable conv2d_codes(const Variable& x, const Variable& w, const Conv2dGeometry& geometry);
/// The same; the output keeps its statistics() for the batch norm behind it.
Variable conv2d_codes_statistics(const Variable& x, const Variable& w, const Conv2dGeometry& geometry);

}  // namespace apotnet
