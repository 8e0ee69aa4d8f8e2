#include "deploy/batch_network.h"

#include <doctest/doctest.h>

#include "deploy/compile.h"
#include "tests/support/check_data.h"
#include "tests/support/lively_model.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Logits of all images at once, through the contract on the CPU.
Tensor by_batch(Model& model, const Tensor& images) {
  LoweredNetwork lowered = lower(model, images.size(1), images.size(2), images.size(3));
  return BatchNetwork(std::move(lowered.plan), lowered.steps, {}).run(images);
}

}  // namespace

TEST_CASE("an integer network of whole batches gives evaluation's logits, all bits") {
  const Tensor images = normal_images(3);
  for (const LevelMethod method : {LevelMethod::apot, LevelMethod::uniform, LevelMethod::pot})
    for (const int bits : {2, 3, 5, 8}) {
      if ((method == LevelMethod::apot && bits > 5) || (method == LevelMethod::pot && bits > 3)) continue;
      INFO(name_of(method), " ", bits, " bits");
      const auto model = lively_model("resnet20", method, bits, 30 + static_cast<uint64_t>(bits));
      CHECK(same_bits(by_batch(*model, images), evaluated(*model, images)));
    }
}

TEST_CASE("an integer network of whole batches: MobileNet-V2, with signed codes and channels by themselves") {
  const Tensor images = normal_images(2, 32);
  const auto model = lively_model("mobilenet_v2", LevelMethod::apot, 4, 41);
  CHECK(same_bits(by_batch(*model, images), evaluated(*model, images)));
}

TEST_CASE("an integer network of whole batches takes any number of images, one after the other") {
  const auto model = lively_model("resnet20", LevelMethod::apot, 4, 42);
  LoweredNetwork lowered = lower(*model, 32, 32, 3);
  const BatchNetwork network(std::move(lowered.plan), lowered.steps, {});
  CHECK(network.description().size() == 24);
  CHECK(network.description()[2].starts_with("convolution 1: 3x3 16 -> 16, "));
  for (const int64_t count : {2, 1, 3, 2}) {
    const Tensor images = normal_images(count, 32, 50 + static_cast<uint64_t>(count));
    CHECK(same_bits(network.run(images), evaluated(*model, images)));
  }
  CHECK_THROWS_WITH(network.run(normal_images(1, 16)), doctest::Contains("made for [1, 32, 32, 3]"));
}
