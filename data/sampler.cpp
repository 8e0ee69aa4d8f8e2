#include "data/sampler.h"

#include <cstddef>
#include <numeric>
#include <utility>

namespace apotnet {

std::vector<int64_t> random_order(int64_t size, Philox random) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<uint32_t>(i))]);
  return order;
}

std::vector<int64_t> shuffled_order(int64_t size, uint64_t seed, uint32_t epoch) {
  return random_order(size, Philox(seed, RandomStream::shuffle, epoch));
}

}  // namespace apotnet
