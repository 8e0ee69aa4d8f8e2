#include "layers/state.h"

#include <algorithm>

#include "core/base/error.h"
#include "models/registry.h"
#include "tests/support/check_data.h"

using namespace apotnet;

namespace {

std::unique_ptr<Model> small_model(QuantizerVariant variant, uint64_t seed) {
  ModelSettings settings;
  settings.quant.variant = variant;
  auto model = make_model(settings);
  Philox random(seed, RandomStream::test);
  model->initialize(random);
  return model;
}

TensorFile file_of(Module& module) { return {state_of(module), {}}; }

NamedTensor& named(TensorFile& file, const std::string& name) {
  return *std::ranges::find(file.tensors, name, &NamedTensor::name);
}

}  // namespace

TEST_CASE("state: names, order and layouts are those of PyTorch's state_dict") {
  const auto model = small_model(QuantizerVariant::cifar, 1);
  const std::vector<NamedTensor> state = state_of(*model);
  const std::vector<std::string> start{"conv1.weight",         "bn1.weight",      "bn1.bias",
                                       "bn1.running_mean",     "bn1.running_var", "bn1.num_batches_tracked",
                                       "layer1.0.conv1.weight"};
  for (size_t i = 0; i < start.size(); ++i) CHECK(state[i].name == start[i]);
  CHECK(state.back().name == "fc.bias");
  CHECK(state[0].tensor.shape() == Shape{16, 3, 3, 3});

  const Tensor& ours = model->parameters()[0].variable->value();  // [16, 3, 3, 3] as O, H, W, I
  const auto at = [](const Tensor& t, size_t a, size_t b, size_t c, size_t d) {
    return t.data<float>()[((a * 3 + b) * 3 + c) * 3 + d];
  };
  for (size_t i = 0; i < 3; ++i)
    for (size_t h = 0; h < 3; ++h)
      for (size_t w = 0; w < 3; ++w) CHECK(at(state[0].tensor, 5, i, h, w) == at(ours, 5, h, w, i));
}

TEST_CASE("state: is a copy that later training does not change") {
  const auto model = small_model(QuantizerVariant::cifar, 1);
  const TensorFile before = file_of(*model);
  for (const Module::NamedParameter& parameter : model->parameters()) parameter.variable->mutable_value().fill(9);
  for (const Module::NamedBuffer& buffer : model->buffers()) buffer.tensor->fill(9);
  for (const NamedTensor& entry : before.tensors) {
    CAPTURE(entry.name);
    for (const double value : test::doubles(entry.tensor)) REQUIRE(value != 9);
  }
}

TEST_CASE("state: a saved state loads into another model, in either naming of the alphas") {
  for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet}) {
    const auto source = small_model(QuantizerVariant::cifar, 1);
    TensorFile file = file_of(*source);
    for (NamedTensor& entry : file.tensors)
      if (entry.name.ends_with("alpha")) entry.tensor = Tensor::full({1}, DType::f32, 2.5);
    const auto target = small_model(variant, 2);
    const LoadReport report = load_state(*target, file);
    CHECK(report.missing.empty());
    CHECK(report.unused.empty());
    const std::vector<NamedTensor> loaded = state_of(*target);
    for (size_t i = 0; i < loaded.size(); ++i)
      CHECK(test::same_bits(loaded[i].tensor, file.tensors[i].tensor.reshaped(loaded[i].tensor.shape())));
  }
}

TEST_CASE("state: missing and unused names are reported, missing ones keep their values") {
  const auto source = small_model(QuantizerVariant::cifar, 1), target = small_model(QuantizerVariant::cifar, 2);
  TensorFile file = file_of(*source);
  named(file, "fc.bias").name = "fc.offset";
  const Tensor before = file_of(*target).find("fc.bias")->clone();
  const LoadReport report = load_state(*target, file);
  CHECK(report.missing == std::vector<std::string>{"fc.bias"});
  CHECK(report.unused == std::vector<std::string>{"fc.offset"});
  CHECK(test::same_bits(before, *file_of(*target).find("fc.bias")));
  CHECK(test::same_bits(*file_of(*target).find("fc.weight"), *file.find("fc.weight")));
}

TEST_CASE("state: files of other programs need not count the batches of a batch norm") {
  const auto source = small_model(QuantizerVariant::cifar, 1), target = small_model(QuantizerVariant::cifar, 2);
  TensorFile file = file_of(*source);
  const size_t before = file.tensors.size();
  std::erase_if(file.tensors, [](const NamedTensor& entry) { return entry.name.ends_with(".num_batches_tracked"); });
  REQUIRE(file.tensors.size() < before);
  const LoadReport report = load_state(*target, file);
  CHECK(report.missing.empty());
  CHECK(report.taken == file.tensors.size());
  file.metadata["format_version"] = "1";  // ours always do
  CHECK(load_state(*target, file).missing.size() == before - file.tensors.size());
}

TEST_CASE("state: a wrong shape is an error naming the tensor and both shapes, and nothing is loaded") {
  const auto source = small_model(QuantizerVariant::cifar, 1), target = small_model(QuantizerVariant::cifar, 2);
  TensorFile file = file_of(*source);
  named(file, "fc.weight").tensor = Tensor::zeros({100, 64}, DType::f32);
  const TensorFile before = file_of(*target);
  CHECK_THROWS_WITH_AS(load_state(*target, file),
                       "tensor fc.weight has the shape [100, 64] in the file, the model needs [10, 64]", Error);
  const TensorFile after = file_of(*target);
  for (size_t i = 0; i < before.tensors.size(); ++i)
    CHECK(test::same_bits(before.tensors[i].tensor, after.tensors[i].tensor));
}
