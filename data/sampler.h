#pragma once

#include <cstdint>
#include <vector>

#include "core/base/philox.h"

namespace apotnet {

/// Fisher-Yates: every order is equally likely. At most 2^32 - 1 items.
void shuffle(std::vector<int64_t>& items, Philox random);

/// 0, 1, ..., count - 1: the order of an evaluation.
std::vector<int64_t> sequential_order(int64_t count);

/// The order in which epoch `epoch` of a training visits its images: a permutation of 0 .. count - 1 that depends on
/// (count, seed, epoch) only.
std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed, int64_t epoch);

}  // namespace apotnet
