// Whole training steps on the CUDA path: against the CPU, against the authors' numbers, one by one and recorded.
#include <cstdio>
#include <map>

#include "core/kernels/accelerator.h"
#include "core/kernels/call.h"
#include "core/kernels/cuda/context.h"
#include "core/ops/cross_entropy.h"
#include "layers/batch_norm.h"
#include "layers/state.h"
#include "models/registry.h"
#include "optim/sgd.h"
#include "tests/emulation/runtime.h"
#include "tests/support/backends.h"
#include "tests/support/cifar_records.h"
#include "tests/support/golden.h"

using namespace apotnet;
using namespace apotnet::test;
using cuda::kCuda;

namespace {

// A network with its optimizer and a batch, all on the device.
struct Training {
  std::unique_ptr<Model> model;
  std::unique_ptr<Sgd> optimizer;
  Tensor images, labels, loss, logits;

  Training(const ModelSettings& settings, const Tensor& host_images, const Tensor& host_labels, Device device) {
    if (device == kCuda) cuda_device();
    model = make_model(settings);
    Philox random = random_numbers(141);
    model->initialize(random);
    model->move_to(device);
    std::vector<NamedVariable> parameters;
    for (const auto& parameter : model->parameters()) parameters.push_back({parameter.name, *parameter.variable});
    optimizer = std::make_unique<Sgd>(std::vector<ParameterGroup>{{"all", parameters, 0.02, 1e-4}}, 0.9);
    images = host_images.on(device);
    labels = host_labels.on(device);
  }
  void forward_backward() {
    const Variable output = model->forward(Variable(images));
    Variable value = cross_entropy(output, labels, 0.1);
    value.backward();
    logits = output.value();
    loss = value.value();
  }
  void step() {
    forward_backward();
    optimizer->update();
    optimizer->clear_gradients();
  }
  std::vector<Tensor> state() const {
    std::vector<Tensor> result{loss.on({}), logits.on({})};
    for (const auto& parameter : model->parameters()) result.push_back(parameter.variable->value().on({}));
    for (const auto& buffer : model->buffers()) result.push_back(buffer.tensor->on({}).to(DType::f32));
    return result;
  }
};

ModelSettings settings_of(LevelMethod method, QuantizerVariant variant, int bits) {
  ModelSettings settings;
  settings.quant.method = method;
  settings.quant.variant = variant;
  settings.quant.weight_bits = settings.quant.activation_bits = bits;
  return settings;
}

struct Batch {
  Tensor images, labels;
  explicit Batch(int64_t count, uint64_t seed = 142) {
    Philox random = random_numbers(seed);
    images = random_tensor({count, 32, 32, 3}, DType::f32, random);
    labels = Tensor({count}, DType::s32);
    for (int32_t& label : labels.data<int32_t>()) label = static_cast<int32_t>(random.below(10));
  }
};

class PlainArithmetic {
 public:
  PlainArithmetic() {
    cuda_device();
    cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::f32);
    cuda::Context::get().set_fill_fresh_memory(true);
  }
  ~PlainArithmetic() {
    cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::tf32);
    cuda::Context::get().set_fill_fresh_memory(false);
  }
};

}  // namespace

TEST_CASE("cuda: every kernel of a training step of ResNet-20 agrees with the reference on the same input") {
  const PlainArithmetic plain;
  const Batch batch(4);
  for (const auto& [method, variant, bits] : {std::tuple{LevelMethod::apot, QuantizerVariant::cifar, 4},
                                              {LevelMethod::apot, QuantizerVariant::imagenet, 2},
                                              {LevelMethod::pot, QuantizerVariant::imagenet, 5},
                                              {LevelMethod::uniform, QuantizerVariant::cifar, 3},
                                              {LevelMethod::apot, QuantizerVariant::cifar, 32}}) {
    CAPTURE(bits);
    ModelSettings settings = settings_of(method, variant, bits);
    settings.quant.threshold_gradient.reparameterized = bits != 2;
    Training training(settings, batch.images, batch.labels, kCuda);
    if (bits == 5) set_ghost_batch(*training.model, 2);
    const BackendScope scope(Backend::checked);
    training.optimizer->set_rate_factor(1);
    CHECK_NOTHROW(training.step());
    CHECK(std::isfinite(training.loss.on({}).item()));
    CHECK_FALSE(cuda_device().take_trouble());
  }
}

TEST_CASE("cuda: a recorded step repeats the bits of steps one by one, and allocates nothing") {
  const PlainArithmetic plain;
  const Batch batch(3), other(3, 143);
  const ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4);
  Training eager(settings, batch.images, batch.labels, kCuda), recorded(settings, batch.images, batch.labels, kCuda);
  const auto work = cuda_device().repeat();
  size_t allocations = 0;
  for (int step = 0; step < 5; ++step) {
    CAPTURE(step);
    const Batch& now = step % 2 ? other : batch;
    for (Training* training : {&eager, &recorded}) {
      training->images.copy_from({now.images.raw(), now.images.bytes()});
      training->labels.copy_from({now.labels.raw(), now.labels.bytes()});
      training->optimizer->set_rate_factor(step < 2 ? 1 : 0.1);
    }
    eager.step();
    if (step == 2) allocations = emulation::allocation_count();
    work->run([&] { recorded.step(); });
    const auto a = eager.state(), b = recorded.state();
    for (size_t i = 0; i + recorded.model->buffers().size() < a.size(); ++i) {
      CAPTURE(i);
      CHECK(same_bits(a[i], b[i]));
    }
  }
  CHECK(emulation::allocation_count() == allocations);
  CHECK(work->nodes() > 100);
  MESSAGE("nodes of a step of ResNet-20: ", work->nodes());
}

TEST_CASE("cuda: golden: one training step of the authors' ResNet-20 on 32 images") {
  const auto checkpoint = reference_file("resnet20_3bit.pth.tar"),
             expected = reference_file("resnet20_3bit.safetensors"),
             images = data_path("cifar-10-batches-bin/test_batch.bin");
  SKIP_WITHOUT(checkpoint);
  SKIP_WITHOUT(expected);
  SKIP_WITHOUT(images);
  const PlainArithmetic plain;
  const Golden golden(expected);
  const CifarRecords batch = first_records(images, 32);
  Training training(settings_of(LevelMethod::apot, QuantizerVariant::cifar, 3), batch.images, batch.labels, kCuda);
  load_state(*training.model, read_checkpoint_file(checkpoint.string()));
  const Variable logits = training.model->forward(Variable(training.images));
  Variable loss = cross_entropy(logits, training.labels);
  loss.backward();
  CHECK(std::abs(loss.value().on({}).item() - golden.scalar("train_loss")) < 1e-5);
  const auto error = [](const Tensor& ours, const Tensor& theirs) {
    const std::vector<double> a = doubles(ours.on({})), b = doubles(theirs);
    REQUIRE(a.size() == b.size());
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) difference += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
    return std::sqrt(difference / size);
  };
  CHECK(error(logits.value(), golden["train_logits"]) < 1e-3);
  double worst = 0;
  for (const auto& parameter : training.model->parameters()) {
    CAPTURE(parameter.name);
    const double own = error(parameter.variable->grad(), golden["grad." + parameter.name]);
    CHECK(own < 1e-3);
    worst = std::max(worst, own);
  }
  for (const auto& buffer : training.model->buffers()) {
    CAPTURE(buffer.name);
    CHECK(error(*buffer.tensor, golden["buffer_after." + buffer.name]) < 1e-5);
  }
  MESSAGE("worst gradient error ", worst);
}

namespace {

// What the step takes today; a change that makes it worse is seen here. The goal is 70 nodes and 2.6 MB.
constexpr size_t kMostNodes = 404;
constexpr double kMostMegabytes = 17.5;

struct Traffic {
  size_t nodes = 0;
  double reads = 0, writes = 0;
};

// Nodes and bytes of a step with `images` images, by name.
std::map<std::string, Traffic> traffic_of(int64_t images) {
  const Batch batch(images);
  Training training(settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4), batch.images, batch.labels, kCuda);
  training.optimizer->set_rate_factor(1);
  std::map<std::string, Traffic> table;
  for (const cuda::Node& node : cuda::Context::get().nodes_of([&] { training.step(); })) {
    Traffic& row = table[std::string(node.name)];
    ++row.nodes;
    row.reads += static_cast<double>(node.reads);
    row.writes += static_cast<double>(node.writes);
  }
  return table;
}

}  // namespace

TEST_CASE("cuda: the table of nodes of a training step of ResNet-20, 4 bit, batch 128") {
  cuda_device();
  // Bytes grow with the images in a straight line, so two small batches tell of a large one.
  constexpr double kBatch = 128;
  const auto one = traffic_of(1), two = traffic_of(2);
  REQUIRE(one.size() == two.size());
  const auto at_batch = [](double a, double b) { return a + (b - a) * (kBatch - 1); };
  Traffic total;
  std::printf("%-30s %5s %12s %12s\n", "node", "count", "reads MB", "writes MB");
  for (const auto& [name, row] : two) {
    const Traffic& small = one.at(name);
    REQUIRE(small.nodes == row.nodes);
    const double reads = at_batch(small.reads, row.reads), writes = at_batch(small.writes, row.writes);
    std::printf("%-30s %5zu %12.3f %12.3f\n", name.c_str(), row.nodes, reads / 1e6, writes / 1e6);
    total.nodes += row.nodes;
    total.reads += reads;
    total.writes += writes;
  }
  const double per_image = (total.reads + total.writes) / kBatch / 1e6;
  std::printf("%zu nodes, %.2f MB per image\n", total.nodes, per_image);
  CHECK(total.nodes <= kMostNodes);
  CHECK(per_image <= kMostMegabytes);
}

TEST_CASE("cuda: batches made on the device have the bits of the loader's") {
  Philox random = random_numbers(144);
  Tensor images({5, 9, 9, 3}, DType::u8), labels = Tensor::from<int32_t>({5}, {3, 1, 4, 1, 5});
  for (uint8_t& byte : images.data<uint8_t>()) byte = static_cast<uint8_t>(random.below(256));
  const ResidentImages data{images, labels, random_tensor({3, 256}, DType::f32, random), 2};
  const Tensor placements = Tensor::from<int32_t>({3, 4}, {4, 0, 3, 1, 0, 4, 4, 0, 2, 2, 2, 1});
  std::vector<Tensor> out;
  for (const Kernels* kernels : {&reference_kernels(), &device_kernels_on_copies()}) {
    Tensor batch({3, 9, 9, 3}, DType::f32), chosen({3}, DType::s32);
    kernels->batch->gather_batch(data, placements, batch, chosen);
    CHECK(doubles(chosen) == std::vector<double>{5, 3, 4});
    out.push_back(batch);
  }
  CHECK(same_bits(out[0], out[1]));
}
