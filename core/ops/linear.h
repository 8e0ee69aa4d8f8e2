#pragma once

#include "core/autograd/variable.h"

namespace apotnet {

/// x w^T + b. x [N, I], w [O, I], b [O] -> [N, O].
Variable linear(const Variable& x, const Variable& w, const Variable& b);

}  // namespace apotnet
