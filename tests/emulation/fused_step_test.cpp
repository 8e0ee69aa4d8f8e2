// Recorded training steps in their fused form (core/kernels/cuda/step): against the same step kernel by kernel, and
// against the authors' numbers.
#include <cmath>
#include <map>

#include "core/kernels/call.h"
#include "core/ops/pool.h"
#include "layers/batch_norm.h"
#include "layers/first_last.h"
#include "layers/norm_relu.h"
#include "layers/quant_conv2d.h"
#include "layers/state.h"
#include "models/resnet_imagenet.h"
#include "tests/emulation/block.h"
#include "tests/emulation/fiber.h"
#include "tests/emulation/fresh_memory.h"
#include "tests/emulation/runtime.h"
#include "tests/emulation/training.h"
#include "tests/support/authors_resnet20.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// So many multiprocessors that a batch goes as chains; more fibers than the thread sanitizer has threads for.
class Multiprocessors {
 public:
  explicit Multiprocessors(int count) {
    if (!emulation::kThreadSanitizer) emulation::set_multiprocessors(count);
  }
  ~Multiprocessors() { emulation::set_multiprocessors(4); }
};

// Between two layers a gradient is a bf16, which has 8 bits: a rounding is off by 2^-9 at most, and there are some
// twenty on the way to the first layer.
constexpr double kBf16Error = 0.02;

// After one step without weight decay the velocities are the gradients. Those of thresholds, sums that cancel, come as
// one vector.
struct FoundGradients {
  std::map<std::string, Tensor> of;

  explicit FoundGradients(const Sgd& optimizer) {
    std::vector<float> thresholds;
    for (const Sgd::State& state : optimizer.state()) {
      const Tensor gradient = state.momentum.on({});
      if (gradient.elements() == 1)
        thresholds.push_back(gradient.data<float>()[0]);
      else
        of[state.name] = gradient;
    }
    of["thresholds"] = Tensor::from<float>({static_cast<int64_t>(thresholds.size())}, thresholds);
  }
};

// `fuses`: whether the step is one that the rules see through.
template <typename Make>
void compare_with_plain_step(const Batch& batch, Make&& make, double allowed = kBf16Error, bool fuses = true) {
  Training fused(make(), batch.images, batch.labels, kCuda, 0), plain(make(), batch.images, batch.labels, kCuda, 0);
  for (Training* training : {&fused, &plain}) training->optimizer->set_rate_factor(1);
  const auto work = cuda_device().repeat();
  const std::vector<cuda::Node> nodes = cuda::Context::get().nodes_of([&] { work->run([&] { fused.step(); }); });
  {
    const PlainArithmetic arithmetic;
    plain.step();
  }
  CHECK_FALSE(cuda_device().take_trouble());
  CHECK(relative_error(fused.loss, plain.loss) < 1e-5);
  CHECK(relative_error(fused.logits, plain.logits) < 1e-4);
  const auto buffers = fused.model->buffers(), plain_buffers = plain.model->buffers();
  for (size_t i = 0; i < buffers.size(); ++i) {
    CAPTURE(buffers[i].name);
    // Batches are counted on the host, once more where the step is called again because it did not fuse.
    if (!fuses && buffers[i].tensor->dtype() == DType::i64) continue;
    CHECK(relative_error(buffers[i].tensor->on({}).to(DType::f32), plain_buffers[i].tensor->on({}).to(DType::f32)) <
          1e-5);
  }
  const FoundGradients ours(*fused.optimizer), theirs(*plain.optimizer);
  double worst = 0;
  for (const auto& [name, gradient] : theirs.of) {
    CAPTURE(name);
    const double error = relative_error(ours.of.at(name), gradient);
    CHECK(error < allowed);
    worst = std::max(worst, error);
  }
  MESSAGE("largest error of a gradient: ", worst);

  int64_t convolutions = 0;
  plain.model->for_each_module([&](Module& module) { convolutions += dynamic_cast<QuantConv2d*>(&module) ? 1 : 0; });
  size_t launched = 0;
  for (const cuda::Node& node : nodes)
    if (node.name == "quantize and convolve" || node.name == "convolve codes" || node.name == "forward chain")
      launched += node.jobs;
  CHECK(launched == (fuses ? static_cast<size_t>(convolutions) : 0));
}

}  // namespace

TEST_CASE("cuda: a fused step of ResNet-20 computes what the step kernel by kernel does") {
  const FreshMemory fresh;
  for (const auto& [variant, bits] : {std::pair{QuantizerVariant::cifar, 4}, {QuantizerVariant::imagenet, 2}}) {
    CAPTURE(bits);
    compare_with_plain_step(Batch(3), [&] { return make_model(settings_of(LevelMethod::apot, variant, bits)); });
  }
}

TEST_CASE("cuda: fused steps of other networks and settings") {
  const Multiprocessors as_many_as_images(16);
  const FreshMemory fresh;
  ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::imagenet, 3);
  settings.name = "resnet8";
  SUBCASE("max pooling, 16 to 128 channels") { settings.name = "resnet10_mnist"; }
  SUBCASE("a scale for the gradients of thresholds") { settings.quant.threshold_gradient.scale = 0.1; }
  SUBCASE("weights that are not normalised") { settings.quant.weight_norm = false; }
  SUBCASE("uniform levels") { settings.quant.method = LevelMethod::uniform; }
  SUBCASE("thresholds taught by clipped values alone") {  // they read gradients that a fused step never writes
    settings.quant.threshold_gradient.reparameterized = false;
  }
  int64_t ghost_batch = 0;
  SUBCASE("statistics of parts of the batch") { ghost_batch = 2; }
  const Batch batch = settings.name == "resnet8" ? Batch(4, 144, 3) : Batch(16, 144, 1);
  const auto make = [&] {
    auto model = make_model(settings);
    set_ghost_batch(*model, ghost_batch);
    return model;
  };
  compare_with_plain_step(batch, make, kBf16Error, settings.quant.threshold_gradient.reparameterized && !ghost_batch);
}

TEST_CASE("cuda: a fused step of bottlenecks, with kernels of 1x1 and up to 512 channels") {
  const Multiprocessors as_many_as_images(32);
  const FreshMemory fresh;
  const QuantSettings quant = settings_of(LevelMethod::apot, QuantizerVariant::imagenet, 4).quant;
  ResNetImageNet::Plan plan;
  plan.blocks = {1, 1, 1, 1};
  plan.bottleneck = true;
  plan.width = 16;
  // The last batch norms see 32 numbers of a channel each, and the sums for the first biases cancel.
  compare_with_plain_step(
      Batch(32), [&] { return std::make_unique<ResNetImageNet>(plan, 10, quant); }, 0.03);
}

namespace {

// Convolutions that fit some of the fused kernels and not the others: outputs that see nothing but padding, and a
// stride of 9.
class OddShapes : public Model {
 public:
  explicit OddShapes(const QuantSettings& quant)
      : first_(3, 16, 3, 1, 1, FirstLastRule::apot_compat),
        padded_(16, 16, 1, {1, 1, 1}, quant),
        strided_(16, 32, 3, {9, 1, 1}, quant),
        last_(32, 32, 3, {1, 1, 1}, quant),
        linear_(32, 10, FirstLastRule::apot_compat) {
    add_module("first", first_);
    add_module("padded", padded_);
    add_module("strided", strided_);
    add_module("last", last_);
    for (int i = 0; i < 4; ++i) add_module(text("bn", i), norms_[i]);
    add_module("linear", linear_);
    name_modules();
  }
  Variable forward(const Variable& images) override {
    const Variable a = padded_.forward(NormRelu(norms_[0], first_.forward(images)));
    const Variable b = strided_.forward(NormRelu(norms_[1], a));
    const Variable c = last_.forward(NormRelu(norms_[2], b));
    return linear_.forward(global_average_pool(NormRelu(norms_[3], c).value()));
  }

 private:
  FirstConv2d first_;
  BatchNorm norms_[4]{BatchNorm(16), BatchNorm(16), BatchNorm(32), BatchNorm(32)};
  QuantConv2d padded_, strided_, last_;
  LastLinear linear_;
};

}  // namespace

TEST_CASE("cuda: a fused step of convolutions that do not fit all of its kernels") {
  const FreshMemory fresh;
  const QuantSettings quant = settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4).quant;
  compare_with_plain_step(Batch(4), [&] { return std::make_unique<OddShapes>(quant); });
}

TEST_CASE("cuda: a fused step repeats its bits, one by one and recorded, whatever the order of blocks") {
  const Batch batch(2), other(2, 143);
  ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4);
  if (emulation::kThreadSanitizer) settings.name = "resnet8";  // which takes minutes for the other
  std::vector<std::vector<Tensor>> results;
  for (const uint64_t seed : {21, 22}) {
    emulation::seed(seed);
    Training training(settings, batch.images, batch.labels, kCuda);
    const auto work = cuda_device().repeat();
    size_t allocations = 0;
    for (int step = 0; step < 3; ++step) {
      const Batch& now = step % 2 ? other : batch;
      training.images.copy_from({now.images.raw(), now.images.bytes()});
      training.labels.copy_from({now.labels.raw(), now.labels.bytes()});
      training.optimizer->set_rate_factor(step < 2 ? 1 : 0.1);
      work->run([&] { training.step(); });
      if (step == 1) allocations = emulation::allocation_count();
    }
    CHECK(emulation::allocation_count() == allocations);
    CHECK(work->nodes() > 0);  // a call of a vendor's library may be several; traffic_test.cpp counts the launches
    results.push_back(training.state());
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    CAPTURE(i);
    CHECK(same_bits(results[0][i], results[1][i]));
  }
}

TEST_CASE("cuda: golden: a fused training step of the authors' ResNet-20 on 32 images") {
  const AuthorsResnet20 authors;
  SKIP_WITHOUT(authors);
  const Multiprocessors as_many_as_images(32);
  const FreshMemory fresh;
  const Golden golden(authors.expected);
  const CifarRecords batch = authors.first(32);
  Training training(settings_of(LevelMethod::apot, QuantizerVariant::cifar, 3), batch.images, batch.labels, kCuda, 0);
  load_state(*training.model, read_checkpoint_file(authors.checkpoint.string()));
  training.optimizer->set_rate_factor(1);
  const auto work = cuda_device().repeat();
  work->run([&] {
    const Variable logits = training.model->forward(Variable(training.images));
    Variable loss = cross_entropy(logits, training.labels);
    loss.backward();
    training.optimizer->update();
    training.optimizer->clear_gradients();
    training.logits = logits.value();
    training.loss = loss.value();
  });
  CHECK(std::abs(training.loss.on({}).item() - golden.scalar("train_loss")) < 1e-5);
  CHECK(relative_error(training.logits, golden["train_logits"]) < 1e-3);
  double worst = 0;
  for (const auto& [name, gradient] : FoundGradients(*training.optimizer).of) {
    if (name == "thresholds") continue;
    CAPTURE(name);
    const double error = relative_error(gradient, golden["grad." + name]);
    CHECK(error < kBf16Error);
    worst = std::max(worst, error);
  }
  std::vector<float> thresholds;
  for (const Sgd::State& state : training.optimizer->state())
    if (state.momentum.elements() == 1) thresholds.push_back(static_cast<float>(golden["grad." + state.name].item()));
  const auto count = static_cast<int64_t>(thresholds.size());
  CHECK(relative_error(FoundGradients(*training.optimizer).of.at("thresholds"),
                       Tensor::from<float>({count}, thresholds)) < kBf16Error);
  for (const auto& buffer : training.model->buffers()) {
    CAPTURE(buffer.name);
    CHECK(relative_error(buffer.tensor->on({}).to(DType::f32), golden["buffer_after." + buffer.name].to(DType::f32)) <
          1e-5);
  }
  MESSAGE("worst gradient error ", worst);
}
