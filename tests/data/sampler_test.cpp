#include "data/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace apotnet;

TEST_CASE("an epoch's order is a permutation that depends on count, seed and epoch only") {
  for (const int64_t count : {0, 1, 2, 1000}) {
    std::vector<int64_t> order = shuffled_order(count, 5, 3);
    CHECK(order == shuffled_order(count, 5, 3));
    std::sort(order.begin(), order.end());
    CHECK(order == sequential_order(count));
  }
  CHECK(shuffled_order(1000, 5, 3) != shuffled_order(1000, 5, 4));
  CHECK(shuffled_order(1000, 5, 3) != shuffled_order(1000, 6, 3));
  CHECK(shuffled_order(1000, 5, 3) != sequential_order(1000));
}

TEST_CASE("every one of the 24 orders of four items is equally likely") {
  std::vector<int64_t> counts(256);
  for (int64_t epoch = 0; epoch < 24000; ++epoch) {
    const std::vector<int64_t> order = shuffled_order(4, 1, epoch);
    ++counts[static_cast<size_t>(order[0] + 4 * order[1] + 16 * order[2] + 64 * order[3])];
  }
  CHECK(std::count(counts.begin(), counts.end(), 0) == 256 - 24);
  for (const int64_t count : counts)
    if (count > 0) CHECK(count == doctest::Approx(1000).epsilon(0.15));
}
