#include <doctest/doctest.h>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "layers/state.h"
#include "models/describe.h"
#include "models/registry.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::unique_ptr<Model> fresh_model(const QuantSettings& quant, const std::string& name = "resnet20") {
  auto model = make_model({name, 10, quant});
  Philox random = random_numbers(131);
  model->initialize(random);
  return model;
}

// Loss and all gradients of one training step, then the buffers.
std::vector<Tensor> training_step(const QuantSettings& quant, const Tensor& images, const Tensor& labels) {
  const auto model = fresh_model(quant);
  Variable loss = cross_entropy(model->forward(Variable(images)), labels, 0.1);
  loss.backward();
  std::vector<Tensor> results{loss.value()};
  for (const Module::NamedParameter& parameter : model->parameters()) {
    CAPTURE(parameter.name);
    REQUIRE(parameter.variable->grad().defined());
    results.push_back(parameter.variable->grad().clone());
  }
  for (const Module::NamedBuffer& buffer : model->buffers()) results.push_back(buffer.tensor->clone());
  return results;
}

struct Setting {
  LevelMethod method;
  QuantizerVariant variant;
  int bits;
  FirstLastRule first_last = FirstLastRule::apot_compat;
};

const std::vector<Setting> kSettings{
    {LevelMethod::apot, QuantizerVariant::cifar, 2},
    {LevelMethod::apot, QuantizerVariant::imagenet, 3, FirstLastRule::absmax8},
    {LevelMethod::apot, QuantizerVariant::cifar, 4},
    {LevelMethod::apot, QuantizerVariant::imagenet, 5, FirstLastRule::none},
    {LevelMethod::apot, QuantizerVariant::cifar, 6},  // codes wider than 8 bits
    {LevelMethod::pot, QuantizerVariant::imagenet, 4},
    {LevelMethod::uniform, QuantizerVariant::cifar, 8},
    {LevelMethod::apot, QuantizerVariant::cifar, 32},
};

QuantSettings quant_of(const Setting& setting) {
  QuantSettings quant;
  quant.method = setting.method;
  quant.variant = setting.variant;
  quant.weight_bits = quant.activation_bits = setting.bits;
  quant.first_last = setting.first_last;
  return quant;
}

}  // namespace

TEST_CASE("resnet: a training step runs side by side on both back ends without complaint") {
  Philox random = random_numbers(132);
  const Tensor images = random_tensor({3, 32, 32, 3}, DType::f32, random),
               labels = Tensor::from<int32_t>({3}, {1, 9, 4});
  const BackendScope scope(Backend::checked);
  for (const Setting& setting : kSettings) {
    CAPTURE(name_of(setting.method));
    CAPTURE(setting.bits);
    const std::vector<Tensor> results = training_step(quant_of(setting), images, labels);
    for (const Tensor& tensor : results)
      for (const double value : doubles(tensor)) REQUIRE(std::isfinite(value));
    CHECK(results[0].item() > 0);
  }
}

TEST_CASE("resnet: a training step has the same bits for 1, 2 and 3 threads") {
  Philox random = random_numbers(133);
  const Tensor images = random_tensor({19, 32, 32, 3}, DType::f32, random);
  Tensor labels({19}, DType::s32);
  for (int32_t& label : labels.data<int32_t>()) label = static_cast<int32_t>(random.below(10));
  QuantSettings quant;
  same_for_all_thread_counts([&] { return training_step(quant, images, labels); });
}

TEST_CASE("resnet: parameters of the published depths") {
  // Weights, batch norm and linear layer of the float networks: of CIFAR with 1x1 shortcuts, of ImageNet as torchvision
  // states them.
  const std::vector<std::tuple<std::string, int64_t, int64_t>> counts{
      {"resnet20", 10, 272474},      {"resnet56", 10, 855770},        {"resnet18", 1000, 11689512},
      {"resnet34", 1000, 21797672},  {"resnet50", 1000, 25557032},    {"resnet101", 1000, 44549160},
      {"resnet152", 1000, 60192808}, {"mobilenet_v2", 1000, 3504872},
  };
  QuantSettings quant;
  quant.weight_bits = 32;
  for (const auto& [name, classes, expected] : counts) {
    CAPTURE(name);
    const auto model = make_model({name, classes, quant});
    int64_t count = 0;
    for (const Module::NamedParameter& parameter : model->parameters()) count += parameter.variable->value().elements();
    CHECK(count == expected);
  }
}

TEST_CASE(
    "registry: every name makes a model whose alphas start as published; others are errors with the known names") {
  for (const std::string& name : model_names())
    for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet}) {
      if (name == "resnet101" || name == "resnet152") continue;  // resnet50 with more blocks: only slower
      CAPTURE(name);
      QuantSettings quant;
      quant.variant = variant;
      const auto model = fresh_model(quant, name);
      int alphas = 0;
      for (const Module::NamedParameter& p : model->parameters()) {
        const bool weight = p.role == ParameterRole::weight_alpha, input = p.role == ParameterRole::activation_alpha;
        if (weight) CHECK(p.variable->value().item() == 3);
        if (input) CHECK(p.variable->value().item() == (variant == QuantizerVariant::cifar ? 8 : 6));
        alphas += weight + input;
      }
      CHECK(alphas > 0);
    }
  try {
    make_model({"resnet21", 10, {}});
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.category() == ErrorCategory::configuration);
    CHECK(std::string(error.what()).find("resnet20") != std::string::npos);
  }
  QuantSettings nine;
  nine.weight_bits = 10;
  CHECK_THROWS_AS(make_model({"resnet20", 10, nine}), Error);
}

TEST_CASE("every network is told from the names and shapes of its tensors, and the data it is for") {
  for (const std::string& name : model_names())
    for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet})
      for (const int bits : {4, 32}) {
        if (name == "resnet101" || name == "resnet152") continue;  // only slower
        CAPTURE(name);
        QuantSettings quant;
        quant.variant = variant;
        quant.weight_bits = quant.activation_bits = bits;
        const int64_t side = model_input(name)[1], classes = side == 224 ? 1000 : 10;
        const auto model = make_model({name, classes, quant});
        const ModelDescription found = describe_state({state_of(*model), {}});
        CHECK(found.model == name);
        CHECK(found.classes == classes);
        CHECK(found.has_alphas == (bits == 4));
        CHECK(found.dataset == (side == 224 ? "imagenet" : side == 28 ? "mnist" : "cifar10"));
        if (bits == 4) CHECK(found.variant == variant);
        if (bits == 32) CHECK((found.first_last == FirstLastRule::none) == (side == 224));
      }
}

TEST_CASE("resnet: a broken threshold stops with the layer's name") {
  const auto model = fresh_model({});
  for (const Module::NamedParameter& p : model->parameters())
    if (p.name == "layer2.0.downsample.0.act_alpha") p.variable->mutable_value().fill(-0.5);
  Philox random = random_numbers(134);
  try {
    model->forward(Variable(random_tensor({1, 32, 32, 3}, DType::f32, random)));
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).starts_with("layer2.0.downsample.0: "));
  }
}
