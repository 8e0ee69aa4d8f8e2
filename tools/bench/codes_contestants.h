#pragma once

#include "tools/bench/kernel_problem.h"

namespace apotnet {

/// Every convolution of codes that this processor can run (core/kernels/cpu/codes), to integer sums.
std::vector<KernelContestant> codes_contestants();

}  // namespace apotnet
