#pragma once

#include <cstdint>
#include <vector>

#include "core/base/philox.h"

namespace apotnet {

/// A permutation of 0 .. size-1 by Fisher and Yates.
std::vector<int64_t> random_order(int64_t size, Philox random);

/// The order in which an epoch visits the images: a function of (seed, epoch) alone.
std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, uint32_t epoch);

}  // namespace apotnet
