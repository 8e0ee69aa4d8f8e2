#include "tools/training/evaluate.h"

#include <doctest/doctest.h>

#include <string>

#include "core/base/error.h"
#include "data/shapes10.h"
#include "models/registry.h"

using namespace apotnet;

namespace {

MemoryDataset data_of(const std::vector<std::string>& class_names) {
  return {{.name = "things",
           .split_name = "test",
           .class_names = class_names,
           .height = 1,
           .width = 1,
           .channels = 1,
           .mean = {0},
           .std = {1}},
          {},
          {}};
}

}  // namespace

TEST_CASE("classes of data and checkpoint are compared by name where both have names") {
  const auto check = [](const std::vector<std::string>& trained, const std::vector<std::string>& data) {
    require_same_classes("last.safetensors", trained, data_of(data));
  };
  CHECK_NOTHROW(check({"a", "b"}, {"a", "b"}));
  CHECK_NOTHROW(check({}, {"a", "b"}));                        // the file has none
  CHECK_NOTHROW(check({"a", "\xEF\xBF\xBD"}, {"a", "\xFF"}));  // as a checkpoint holds a name that is not UTF-8
  try {
    check({"a", "b\n", "c"}, {"a", "c", "b"});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.category() == ErrorCategory::configuration);
    CHECK(std::string(error.what()) ==
          "last.safetensors: class 1 of things is \"c\", that of the checkpoint \"b\\x0a\"; give the data it was "
          "trained on");
  }
}

TEST_CASE("an evaluation can be ended between two batches, and leaves the network as it was") {
  ModelSettings settings;
  settings.name = "resnet8";
  const auto model = make_model(settings);
  Philox random(3, RandomStream::test);
  model->initialize(random);
  model->set_training(true);
  const auto data = draw_shapes10(1, Split::test, 450);  // three batches
  struct Ended {};
  int batches = 0;
  const auto end_at_second = [&] {
    if (++batches == 2) throw Ended{};
  };
  CHECK_THROWS_AS(evaluate(*model, 10, data, 1, end_at_second), Ended);
  CHECK(batches == 2);
  CHECK(model->training());
  CHECK(evaluate(*model, 10, data, 1, [&] { ++batches; }).count == 450);
  CHECK(batches == 5);
}
