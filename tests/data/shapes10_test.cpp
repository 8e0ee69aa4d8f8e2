#include "data/shapes10.h"

#include <array>
#include <set>

#include "core/base/parallel.h"
#include "tests/data/support.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::vector<uint8_t> image_of(const Dataset& dataset, int64_t index) {
  std::vector<uint8_t> image(static_cast<size_t>(dataset.image_bytes()));
  dataset.read(index, image);
  return image;
}

/// FNV-1a over the images `begin` to `end - 1` and their labels.
uint64_t hash_of(const Dataset& dataset, int64_t begin, int64_t end) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&](uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (int64_t i = begin; i < end; ++i) {
    for (const uint8_t byte : image_of(dataset, i)) add(byte);
    add(static_cast<uint8_t>(dataset.label(i)));
  }
  return hash;
}

uint64_t hash_of(const Dataset& dataset) { return hash_of(dataset, 0, dataset.size()); }

using Colour = std::array<double, 3>;

Colour mean_colour(const Dataset& dataset, int64_t index) {
  Colour colour{};
  const std::vector<uint8_t> image = image_of(dataset, index);
  for (size_t i = 0; i < image.size(); ++i) colour[i % 3] += image[i] / 1024.0;
  return colour;
}

double squared_distance(const Colour& a, const Colour& b) {
  double sum = 0;
  for (size_t c = 0; c < 3; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return sum;
}

}  // namespace

TEST_CASE("shapes10 draws the same images for ever") {
  // A changed hash means that every number ever reported on shapes10 is about other images.
  CHECK(hash_of(*draw_shapes10(1, Split::train, 100)) == 16265553888020088292u);
}

TEST_CASE("a shapes10 image depends on seed, split and index, not on count or threads") {
  const auto hundred = draw_shapes10(1, Split::train, 100);
  const auto few = draw_shapes10(1, Split::train, 13);
  CHECK(hash_of(*few) == hash_of(*hundred, 0, 13));
  // Drawn at the first look, here by three threads that want the same images at the same time, the last one first.
  const auto contested = draw_shapes10(1, Split::train, 100);
  set_thread_count(3);
  parallel_for(300, [&](int64_t i) { image_of(*contested, 99 - i / 3); });
  set_thread_count(1);
  CHECK(hash_of(*contested) == hash_of(*hundred));
  CHECK(contested->view(7).data() == contested->view(7).data());
  CHECK(hash_of(*draw_shapes10(2, Split::train, 100)) != hash_of(*hundred));
}

TEST_CASE("shapes10 is balanced, in an order that labels do not betray") {
  const auto dataset = draw_shapes10(1, Split::train, 1000);
  std::vector<int> counts(10), firsts(10);
  for (int64_t i = 0; i < 1000; ++i) ++counts[static_cast<size_t>(dataset->label(i))];
  for (int64_t i = 0; i < 1000; i += 10) ++firsts[static_cast<size_t>(dataset->label(i))];
  for (const int count : counts) CHECK(count == 100);
  for (const int count : firsts) CHECK(count < 30);
  CHECK(dataset->classes() == 10);
}

TEST_CASE("shapes10 test images are not among the training images") {
  const auto train = draw_shapes10(1, Split::train, 1000), test = draw_shapes10(1, Split::test, 1000);
  std::set<uint64_t> seen;
  for (int64_t i = 0; i < 1000; ++i) {
    seen.insert(hash_of(*train, i, i + 1));
    seen.insert(hash_of(*test, i, i + 1));
  }
  CHECK(seen.size() == 2000);
}

TEST_CASE("the mean colour of a shapes10 image says next to nothing about its class") {
  const auto train = draw_shapes10(1, Split::train, 4000), test = draw_shapes10(1, Split::test, 2000);
  std::array<Colour, 10> centroids{};
  for (int64_t i = 0; i < train->size(); ++i)
    for (size_t c = 0; c < 3; ++c)
      centroids[static_cast<size_t>(train->label(i))][c] += mean_colour(*train, i)[c] / 400;
  int right = 0;
  for (int64_t i = 0; i < test->size(); ++i) {
    const Colour colour = mean_colour(*test, i);
    int nearest = 0;
    for (int k = 1; k < 10; ++k)
      if (squared_distance(colour, centroids[static_cast<size_t>(k)]) <
          squared_distance(colour, centroids[static_cast<size_t>(nearest)]))
        nearest = k;
    right += nearest == test->label(i);
  }
  CHECK(right < 300);  // chance is 200 of 2,000
}

TEST_CASE("shapes10 refuses a silly number of images") {
  check_error([] { draw_shapes10(1, Split::train, 0); }, ErrorCategory::configuration, {"shapes10", "0 train images"});
  check_error([] { draw_shapes10(1, Split::test, 1'000'001); }, ErrorCategory::configuration, {"1000001"});
}
