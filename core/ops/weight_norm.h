#pragma once

#include <string>

#include "core/autograd/variable.h"

namespace apotnet {

/// w_hat = (w - mean(w)) / std(w) over the whole tensor, std unbiased and without epsilon (F3; paper section 2.3).
/// `constant_statistics`: mean and std are constants to the gradient (cifar variant), else differentiated (imagenet)
/// (F4). Error(diverged) naming `layer` when the standard deviation is zero or not finite.
Variable weight_norm(const Variable& w, bool constant_statistics, const std::string& layer);

}  // namespace apotnet
