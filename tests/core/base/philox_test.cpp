#include "core/base/philox.h"

#include <doctest/doctest.h>

#include <set>
#include <vector>

using namespace apotnet;

TEST_CASE("philox4x32-10 gives the published known answers") {  // Random123's kat_vectors
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t ones = 0xffffffff;
  CHECK(philox4x32({ones, ones, ones, ones}, {ones, ones}) ==
        std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("philox streams, epochs and samples do not share numbers") {
  std::set<uint32_t> seen;
  for (uint32_t epoch = 0; epoch < 4; ++epoch)
    for (uint32_t sample = 0; sample < 4; ++sample)
      for (const RandomStream stream : {RandomStream::shuffle, RandomStream::augment}) {
        Philox random(7, stream, epoch, sample);
        for (int i = 0; i < 9; ++i) seen.insert(random.next_u32());
      }
  CHECK(seen.size() == 4 * 4 * 2 * 9);
}

TEST_CASE("philox below(n) covers 0 to n-1 evenly and normal() has mean 0 and variance 1") {
  Philox random(1, RandomStream::test);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
  for (const int count : counts) CHECK(count == doctest::Approx(10000).epsilon(0.05));
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double z = random.normal();
    sum += z;
    squares += z * z;
  }
  CHECK(sum / 100000 == doctest::Approx(0).epsilon(0.02));
  CHECK(squares / 100000 == doctest::Approx(1).epsilon(0.02));
}
