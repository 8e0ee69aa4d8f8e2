#pragma once

#include "core/autograd/variable.h"

namespace apotnet {

/// max(x, 0); the derivative at 0 is 0.
Variable relu(const Variable& x);
/// min(max(x, 0), 6); the derivative at 0 and 6 is 0.
Variable relu6(const Variable& x);
/// a + b, of one shape.
Variable add(const Variable& a, const Variable& b);
/// x * factor
Variable scale(const Variable& x, double factor);
/// x itself in another shape of as many elements.
Variable reshape(const Variable& x, const Shape& shape);

}  // namespace apotnet
