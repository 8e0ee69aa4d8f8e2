#include "data/sampler.h"

#include <limits>
#include <numeric>
#include <utility>

#include "core/base/error.h"

namespace apotnet {

void shuffle(std::vector<int64_t>& items, Philox random) {
  require(items.size() <= std::numeric_limits<uint32_t>::max(), "shuffle: ", items.size(), " items");
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random.below(static_cast<uint32_t>(i))]);
}

std::vector<int64_t> sequential_order(int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  return order;
}

std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order = sequential_order(count);
  shuffle(order, Philox(seed, RandomStream::shuffle, static_cast<uint32_t>(epoch)));
  return order;
}

}  // namespace apotnet
