#include "data/dataset.h"

#include <algorithm>

#include "tests/data/support.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("the validation split parts the images by the seed alone") {
  const auto whole = random_dataset(100);
  const TrainValidation parts = split_validation(whole, 30, 7);
  CHECK(parts.train->size() == 70);
  CHECK(parts.validation->size() == 30);
  CHECK(parts.train->split_name() == "train");
  CHECK(parts.validation->split_name() == "validation");

  std::vector<int64_t> all = parts.train->indices();
  const std::vector<int64_t>& held_out = parts.validation->indices();
  CHECK(std::is_sorted(all.begin(), all.end()));
  CHECK(std::is_sorted(held_out.begin(), held_out.end()));
  all.insert(all.end(), held_out.begin(), held_out.end());
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < 100; ++i) CHECK(all[static_cast<size_t>(i)] == i);

  CHECK(split_validation(whole, 30, 7).validation->indices() == held_out);
  CHECK(split_validation(whole, 30, 8).validation->indices() != held_out);
  CHECK(split_validation(whole, 0, 7).train->size() == 100);
}

TEST_CASE("a subset reads the images it stands for") {
  const auto whole = random_dataset(20);
  const Subset subset(whole, {7, 3}, "validation");
  std::vector<uint8_t> expected(static_cast<size_t>(whole->image_bytes())), got(expected.size());
  whole->read(3, expected);
  subset.read(1, got);
  CHECK(got == expected);
  const std::span<const uint8_t> view = subset.view(1);
  CHECK(std::vector(view.begin(), view.end()) == expected);
  CHECK(subset.view(1).data() == whole->view(3).data());
  CHECK(subset.label(0) == whole->label(7));
  CHECK(take_first(whole, 5)->size() == 5);
  CHECK(take_first(whole, 50) == whole);
}

TEST_CASE("wrong splits and places are errors") {
  const auto whole = random_dataset(10);
  check_error([&] { split_validation(whole, 10, 1); }, ErrorCategory::configuration,
              {"data.validation", "0 to 9", "10"});
  check_error([&] { split_validation(whole, -1, 1); }, ErrorCategory::configuration, {"-1"});
  check_error([&] { Subset(whole, {10}, "train"); }, ErrorCategory::internal, {"image 10 of 10"});
  std::vector<uint8_t> image(static_cast<size_t>(whole->image_bytes()));
  check_error([&] { whole->read(-1, image); }, ErrorCategory::internal, {"-1"});
  check_error([&] { whole->view(10); }, ErrorCategory::internal, {"10"});
  check_error([&] { whole->label(10); }, ErrorCategory::internal, {"10"});
  image.pop_back();
  check_error([&] { whole->read(0, image); }, ErrorCategory::internal, {"59"});
}
