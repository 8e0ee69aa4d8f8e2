// Steps of a training on the device, in parts, from placements and from pixels.
#include "tools/training/device_steps.h"

#include <algorithm>
#include <string_view>

#include "core/kernels/cuda/context.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/elementwise.h"
#include "data/registry.h"
#include "models/registry.h"
#include "tests/emulation/runtime.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;
using cuda::kCuda;

namespace {

constexpr double kSmoothing = 0.1;

struct Training {
  std::unique_ptr<Model> model;
  std::unique_ptr<Sgd> optimizer;

  Training(int bits, Device device) {
    ModelSettings settings{.name = "resnet8", .classes = 10, .quant = {}};  // of any depth
    settings.quant.weight_bits = settings.quant.activation_bits = bits;
    model = make_model(settings);
    Philox random = random_numbers(151);
    model->initialize(random);
    if (device == kCuda) model->move_to(device);
    std::vector<NamedVariable> parameters;
    for (const auto& parameter : model->parameters()) parameters.push_back({parameter.name, *parameter.variable});
    optimizer = std::make_unique<Sgd>(std::vector<ParameterGroup>{{"all", parameters, 0.02, 1e-4}}, 0.9);
  }
  std::vector<Tensor> state() const {
    std::vector<Tensor> result;
    for (const auto& parameter : model->parameters()) result.push_back(parameter.variable->value().on({}));
    for (const auto& entry : optimizer->state()) result.push_back(entry.momentum.on({}));
    for (const auto& buffer : model->buffers()) result.push_back(buffer.tensor->on({}));
    return result;
  }
};

// A step of three images in parts of two and one.
constexpr int64_t kImages = 3;
std::vector<Batch> parts_of_step(Loader& loader) {
  std::vector<Batch> parts;
  for (int i = 0; i < 2; ++i) parts.push_back(*loader.next());
  return parts;
}

LoaderOptions options_for(BatchContent content) {
  return {.batch = 2,
          .shuffle = true,
          .augmentation = {.pad = 2, .flip = true},
          .seed = 5,
          .workers = 0,
          .content = content};
}

}  // namespace

TEST_CASE("cuda: the parts of a step give the gradients of the CPU, each with its share") {
  cuda_device();
  cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::f32);
  const auto dataset = take_first(open_dataset("shapes10", "", Split::train, {5, 20, 10}), kImages);
  // Not quantized: rounding flips no level.
  Training host(32, {}), device(32, kCuda);
  Loader images(dataset, options_for(BatchContent::images)), placements(dataset, options_for(BatchContent::placements));

  double loss_sum = 0;
  host.model->set_training(true);
  for (const Batch& part : parts_of_step(images)) {
    Variable loss = cross_entropy(host.model->forward(Variable(part.images)), part.labels, kSmoothing);
    const auto count = static_cast<double>(part.labels.elements());
    loss_sum += loss.value().item() * count;
    scale(loss, count / double{kImages}).backward();
  }
  host.optimizer->step(1);

  device.model->set_training(true);
  const ResidentImages resident = make_resident(*dataset, 2, kCuda);
  DeviceSteps steps(cuda_device(), *device.model, *device.optimizer, resident, kSmoothing);
  CHECK_FALSE(steps.step(parts_of_step(placements), 1));
  const auto result = steps.finish();
  REQUIRE(result);
  CHECK(result->count == kImages);
  CHECK_FALSE(result->trouble);
  CHECK(result->loss_sum == doctest::Approx(loss_sum).epsilon(1e-5));
  const auto wanted = host.state(), found = device.state();
  for (size_t i = 0; i < wanted.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(found[i], wanted[i]) < 1e-4);
  }
  cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::tf32);
}

TEST_CASE("cuda: pixels that come with each batch give the bits of a data set on the device") {
  cuda_device();
  const auto dataset = take_first(open_dataset("shapes10", "", Split::train, {5, 20, 10}), kImages);
  const ResidentImages resident = make_resident(*dataset, 2, kCuda), tables{{}, {}, resident.tables, resident.pad};
  std::vector<std::vector<Tensor>> states;
  std::vector<double> losses;
  for (const BatchContent content : {BatchContent::placements, BatchContent::pixels}) {
    Training training(4, kCuda);
    training.model->set_training(true);
    DeviceSteps steps(cuda_device(), *training.model, *training.optimizer,
                      content == BatchContent::pixels ? tables : resident, kSmoothing);
    // The first steps are not repeated ones.
    Loader loader(dataset, options_for(content), {}, 4);
    for (int i = 0; i < 4; ++i) {
      const auto former = steps.step(parts_of_step(loader), 1);
      CHECK(former.has_value() == (i > 0));
      if (former) losses.push_back(former->loss_sum);
    }
    losses.push_back(steps.finish()->loss_sum);
    CHECK_FALSE(steps.finish());
    states.push_back(training.state());
  }
  for (size_t i = 0; i < 4; ++i) CHECK(losses[i] == losses[4 + i]);
  for (size_t i = 0; i < states[0].size(); ++i) {
    CAPTURE(i);
    CHECK(same_bits(states[0][i], states[1][i]));
  }
  CHECK(states[0].back().item() == 8);  // batches that a batch norm has seen
}

TEST_CASE("cuda: the parts of a step are fused, and those of one size take the same room") {
  cuda_device();
  const auto dataset = take_first(open_dataset("shapes10", "", Split::train, {5, 20, 10}), 6);
  const ResidentImages resident = make_resident(*dataset, 2, kCuda);
  struct Begun {
    std::vector<cuda::Node> nodes;
    size_t allocations;
  };
  const auto first_step = [&](int count) {
    Training training(4, kCuda);
    training.model->set_training(true);
    DeviceSteps steps(cuda_device(), *training.model, *training.optimizer, resident, kSmoothing);
    Loader loader(dataset, options_for(BatchContent::placements));
    std::vector<Batch> parts;
    for (int i = 0; i < count; ++i) parts.push_back(*loader.next());
    const size_t before = emulation::live_allocations();
    Begun begun{cuda::Context::get().nodes_of([&] { steps.step(parts, 1); }), 0};
    begun.allocations = emulation::live_allocations() - before;
    return begun;
  };
  first_step(2);  // what lives on after it is there for the others
  const Begun two = first_step(2), three = first_step(3);
  CHECK(three.allocations == two.allocations);
  // The first part runs and the second one is recorded: a third one is copied in, its launches are there.
  const auto count = [&](std::string_view name) {
    return std::ranges::count(two.nodes, name, [](const cuda::Node& node) { return std::string_view(node.name); });
  };
  CHECK(count("convolution") + count("image convolution") == 0);  // in the chains
  CHECK(count("forward chain") == 2);
  CHECK(count("gradient chain") == 2);
  CHECK(three.nodes.size() == two.nodes.size() + 1);
}

TEST_CASE("cuda: memory of a copy is not given back before the copy") {
  cuda_device();
  const Tensor values = Tensor::full({100}, DType::f32, 1, kCuda);
  // Other memory takes the place at once where a copy was forgotten; under the address sanitizer it is an error itself.
  cuda_device().late_copy()->start(values);
  std::vector<std::byte> others[8];
  for (auto& other : others) other.resize(400, std::byte{7});
  cuda_device().synchronize();
  for (const auto& other : others) CHECK(std::ranges::count(other, std::byte{7}) == 400);
}

TEST_CASE("cuda: a place of an early copy is filled again when the device has read it") {
  const auto copy = cuda_device().early_copy();
  Tensor from({100}, DType::s32);
  std::vector<Tensor> on_device;
  for (int i = 0; i < 6; ++i) {
    from.fill(i);
    on_device.push_back(Tensor({100}, DType::s32, kCuda));
    copy->start(from, on_device.back());
  }
  for (int i = 0; i < 6; ++i)
    CHECK(doubles(on_device[static_cast<size_t>(i)].on({})) == std::vector<double>(100, static_cast<double>(i)));
}
