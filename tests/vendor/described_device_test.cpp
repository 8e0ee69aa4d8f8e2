// cuDNN plans every convolution of the shipped networks for devices that are only described: no driver is needed. What
// a GPU would refuse is refused here too; what it would compute is not seen.
#include <doctest/doctest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/kernels/cuda/convolution_plan.h"
#include "core/kernels/cuda/vendor_library.h"
#include "core/kernels/trace.h"
#include "models/registry.h"
#include "tests/support/backends.h"
#include "tests/support/files.h"
#include "tests/vendor/described_device.h"

using namespace apotnet;
using namespace apotnet::cuda;
using namespace apotnet::test;

namespace {

// The convolutions of a training step of `batch` images, each in every arithmetic: more than conv.cpp asks for.
std::vector<ConvolutionDescription> convolutions_of(const std::string& name, int64_t batch) {
  Shape input = model_input(name);
  const auto model = make_model({.name = name, .classes = 10, .quant = {}});
  Philox random = random_numbers(181);
  model->initialize(random);
  model->set_training(false);
  const NoGrad no_grad;
  KernelTrace trace;
  model->forward(Variable(random_tensor(input, DType::f32, random)));
  std::map<std::string, ConvolutionDescription> found;
  const auto add = [&](const Shape& one, const Shape& w, const Conv2dGeometry& geometry, bool first) {
    const Shape x{batch, one[1], one[2], one[3]};
    const auto describe = [&](ConvolutionOperation operation, Arithmetic arithmetic) {
      const auto description = describe_convolution(operation, arithmetic, x, w, geometry,
                                                    arithmetic == Arithmetic::bf16 ? DType::bf16 : DType::f32);
      found.emplace(description.text(), description);
    };
    for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::tf32, Arithmetic::bf16}) {
      describe(ConvolutionOperation::forward, arithmetic);
      describe(ConvolutionOperation::weight_gradient, arithmetic);
      if (!first) describe(ConvolutionOperation::input_gradient, arithmetic);
    }
  };
  for (const TracedCall& call : trace.take()) {
    if (call.name == "conv2d")
      add(call.get<Tensor>(0).shape(), call.get<Tensor>(1).shape(), call.get<Conv2dGeometry>(2), true);
    if (call.name == "conv2d_codes") {
      const auto &x = call.get<Quantized>(0), &w = call.get<Quantized>(1);
      add(x.shape(), w.shape(), call.get<Conv2dGeometry>(2), false);
    }
  }
  std::vector<ConvolutionDescription> all;
  for (auto& [text, description] : found) all.push_back(description);
  return all;
}

}  // namespace

TEST_CASE("cuDNN has a deterministic plan for every convolution of the networks, on six described devices") {
  if (!cudnn_library().found()) {
    std::printf("skipped: libcudnn is not installed\n");
    return;
  }
  std::string table =
      "| network | convolution (N x C x H x W) | device | engine | workspace, KiB |\n|---|---|---|---|---|\n";
  std::map<std::string, std::set<std::string>> networks;  // by description, so that each is planned once
  std::map<std::string, ConvolutionDescription> descriptions;
  for (const auto& [name, batch] : {std::pair<std::string, int64_t>{"resnet20", 128},
                                    {"resnet18", 64},
                                    {"resnet50", 64},
                                    {"mobilenet_v2", 64},
                                    {"resnet10_mnist", 128}})
    for (const ConvolutionDescription& description : convolutions_of(name, batch)) {
      networks[description.text()].insert(name);
      descriptions.emplace(description.text(), description);
    }
  CHECK(descriptions.size() > 90);
  for (const DescribedDevice& device : described_devices())
    for (const auto& [text_of, description] : descriptions) {
      CAPTURE(device.name);
      CAPTURE(text_of);
      try {
        const PlanLimits limits{.device = device.json};
        const ConvolutionPlan plan(description, limits);
        CHECK(plan.workspace() <= limits.workspace);
        std::string names;
        for (const std::string& name : networks[text_of]) names += (names.empty() ? "" : " ") + name;
        table += text("| ", names, " | ", text_of, " | ", device.name, " | ", plan.engine(), " | ",
                      plan.workspace() / 1024, " |\n");
        // The word names the same kernel again.
        const ConvolutionPlan again(description, {.engine = plan.engine(), .device = device.json});
        CHECK(again.engine() == plan.engine());
        CHECK(again.workspace() == plan.workspace());
      } catch (const Error& error) {
        FAIL_CHECK(std::string(error.what()));
      }
    }
  if (const char* path = std::getenv("APOTNET_PLAN_TABLE")) write_text(path, table);
}

TEST_CASE("a plan that cannot be had says why") {
  if (!cudnn_library().found()) {
    std::printf("skipped: libcudnn is not installed\n");
    return;
  }
  const auto description = describe_convolution(ConvolutionOperation::forward, Arithmetic::bf16, {128, 32, 32, 16},
                                                {16, 3, 3, 16}, {1, 1, 1}, DType::bf16);
  const std::string device = described_devices()[3].json;
  const auto error_of = [&](const PlanLimits& limits) -> std::string {
    try {
      const ConvolutionPlan plan(description, limits);
      return "";
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::unavailable);
      return error.what();
    }
  };
  for (const char* engine : {"cudnn-8.0.0:1:", "cudnn", ":::", "x"})
    CHECK(error_of({.engine = engine, .device = device}).find("does not have engine") != std::string::npos);
  CHECK(error_of({.device = "{\"deviceVer\":"}) != "");
  const std::string engine = ConvolutionPlan(description, {.device = device}).engine();
  for (const std::string& damaged : {engine + "=", engine + ",", engine.substr(0, engine.rfind(':')), engine + ",1=x"})
    CHECK(error_of({.engine = damaged, .device = device}) != "");
}
