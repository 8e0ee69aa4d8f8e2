#pragma once

#include "core/autograd/variable.h"
#include "core/kernels/pool.h"

namespace apotnet {

/// Mean over each window of x [N, H, W, C]; padded zeros count.
Variable average_pool(const Variable& x, const PoolGeometry& geometry);
/// Maximum over each window of x [N, H, W, C]; the gradient goes to the first maximum.
Variable max_pool(const Variable& x, const PoolGeometry& geometry);
/// Mean over height and width: [N, H, W, C] -> [N, C]. Images are square.
Variable global_average_pool(const Variable& x);

}  // namespace apotnet
