#include "data/loader.h"

#include <algorithm>
#include <cstring>

#include "data/registry.h"
#include "data/sampler.h"
#include "tests/data/support.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

LoaderOptions training(int workers) {
  return {.batch = 8, .shuffle = true, .augmentation = {2, true}, .seed = 9, .workers = workers, .prefetch = 3};
}

std::vector<Batch> all_of(Loader& loader) {
  std::vector<Batch> batches;
  while (std::optional<Batch> batch = loader.next()) batches.push_back(*std::move(batch));
  return batches;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

void check_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].epoch == b[i].epoch);
    CHECK(a[i].number == b[i].number);
    CHECK(a[i].first == b[i].first);
    CHECK(same_bits(a[i].images, b[i].images));
    CHECK(same_bits(a[i].labels, b[i].labels));
  }
}

/// Throws at one image, as a file that is damaged far inside would.
class BrokenDataset : public Dataset {
 public:
  BrokenDataset() : Dataset(random_dataset(1)->info()) {}
  int64_t size() const override { return 40; }
  int label(int64_t) const override { return 0; }
  void read(int64_t index, std::span<uint8_t> hwc) const override {
    if (index == 19) fail(ErrorCategory::damaged_data, "image 19 is damaged");
    std::fill(hwc.begin(), hwc.end(), uint8_t{0});
  }
};

}  // namespace

TEST_CASE("batches come in order, keep the last smaller one, and hold the images the order names") {
  const auto dataset = random_dataset(50);
  Loader loader(dataset, training(2), {}, 2);
  const std::vector<Batch> batches = all_of(loader);
  REQUIRE(batches.size() == 14);
  CHECK(!loader.next());

  const Normaliser normalise(dataset->info().mean, dataset->info().std);
  for (size_t i = 0; i < batches.size(); ++i) {
    const Batch& batch = batches[i];
    const int64_t count = i % 7 == 6 ? 2 : 8;
    CHECK(batch.epoch == static_cast<int64_t>(i / 7));
    CHECK(batch.number == static_cast<int64_t>(i % 7));
    CHECK(batch.first == batch.number * 8);
    CHECK(batch.images.shape() == Shape{count, 5, 4, 3});
    CHECK(batch.labels.shape() == Shape{count});
    const std::vector<int64_t> order = shuffled_order(50, 9, batch.epoch);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t sample = order[static_cast<size_t>(batch.first + k)];
      CHECK(batch.labels.data<int32_t>()[static_cast<size_t>(k)] == dataset->label(sample));
      std::vector<uint8_t> image(60);
      std::vector<float> expected(60);
      dataset->read(sample, image);
      place_and_normalise(image, 5, 4, 2, draw_placement({2, true}, 9, batch.epoch, sample), normalise, expected);
      const std::span<const float> got = batch.images.data<float>().subspan(static_cast<size_t>(k) * 60, 60);
      CHECK(std::equal(expected.begin(), expected.end(), got.begin()));
    }
  }
}

TEST_CASE("the number of workers does not change a bit") {
  const auto dataset = random_dataset(203);
  Loader alone(dataset, training(0), {}, 3);
  const std::vector<Batch> expected = all_of(alone);
  for (const int workers : {1, 2, 5}) {
    CAPTURE(workers);
    Loader loader(dataset, training(workers), {}, 3);
    check_same(all_of(loader), expected);
  }
}

TEST_CASE("a loader started in the middle continues as if it had never stopped") {
  const auto dataset = random_dataset(50);
  Loader whole(dataset, training(2), {}, 3);
  const std::vector<Batch> expected = all_of(whole);
  for (const LoaderPosition start : {LoaderPosition{0, 3}, {1, 0}, {1, 6}, {1, 7}, {2, 7}}) {
    Loader resumed(dataset, training(2), start, 3);
    const auto from = expected.begin() + start.epoch * 7 + start.batch;
    check_same(all_of(resumed), {from, expected.end()});
  }
}

TEST_CASE("an evaluation visits the images in their own order, once") {
  const auto dataset = random_dataset(20);
  Loader loader(dataset, {.batch = 6, .workers = 2});
  int64_t index = 0;
  for (const Batch& batch : all_of(loader))
    for (const int32_t label : batch.labels.data<int32_t>()) CHECK(label == dataset->label(index++));
  CHECK(index == 20);
}

TEST_CASE("what a worker throws reaches the consumer in place of its batch") {
  for (const int workers : {0, 1, 3}) {
    Loader loader(std::make_shared<BrokenDataset>(), {.batch = 4, .workers = workers});
    for (int i = 0; i < 4; ++i) CHECK(loader.next().has_value());
    for (int i = 0; i < 2; ++i)
      check_error([&] { loader.next(); }, ErrorCategory::damaged_data, {"image 19 is damaged"});
  }
}

TEST_CASE("a loader can be dropped at any moment") {
  const auto dataset = random_dataset(500);
  for (int taken = 0; taken < 20; ++taken) {
    Loader loader(dataset, training(3), {}, 100);
    for (int i = 0; i < taken; ++i) CHECK(loader.next().has_value());
  }
}

TEST_CASE("a loader refuses an empty data set and an empty batch") {
  check_error([] { Loader(random_dataset(0), {}); }, ErrorCategory::configuration, {"no images"});
  check_error([] { Loader(random_dataset(5), {.batch = 0}); }, ErrorCategory::configuration, {"batch size 0"});
  check_error([] { Loader(random_dataset(5), {}, {0, 2}); }, ErrorCategory::internal, {"batch 2 of 1"});
}

TEST_CASE(
    "loader: placements tell a device how to make the very batches, of the data set or of pixels that come along") {
  const auto dataset = open_dataset("shapes10", "", Split::train, {5, 20, 10});
  LoaderOptions options{.batch = 6, .shuffle = true, .augmentation = {.pad = 3, .flip = true}, .seed = 5, .workers = 0};
  Loader whole(dataset, options);
  options.content = BatchContent::placements;
  Loader placed(dataset, options);
  options.content = BatchContent::pixels;
  Loader carried(dataset, options);
  std::vector<uint8_t> bytes(static_cast<size_t>(dataset->image_bytes()));
  while (const auto batch = whole.next()) {
    const auto told = placed.next(), brought = carried.next();
    REQUIRE(told);
    REQUIRE(brought);
    CHECK_FALSE(told->images.defined());
    CHECK_FALSE(told->pixels.defined());
    CHECK(same_bits(told->labels, batch->labels));
    CHECK(same_bits(brought->labels, batch->labels));
    CHECK(same_bits(images_from(*brought, *dataset, 3), batch->images));
    for (int32_t n = 0; n < brought->labels.elements(); ++n) {
      const size_t row = 4 * static_cast<size_t>(n);
      const auto place = told->placements.data<int32_t>().subspan(row, 4);
      const auto own = brought->placements.data<int32_t>().subspan(row, 4);
      CHECK(own[0] == n);
      CHECK(std::ranges::equal(place.subspan(1), own.subspan(1)));
      dataset->read(place[0], bytes);
      CHECK(std::ranges::equal(bytes, brought->pixels.part(n, 1).data<uint8_t>()));
    }
  }
  CHECK_FALSE(placed.next());
}
