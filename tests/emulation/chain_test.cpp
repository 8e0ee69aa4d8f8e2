// Chains of convolutions and of input gradients (core/kernels/cuda/step) against the launches that they stand for.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/ops/conv2d.h"
#include "core/ops/elementwise.h"
#include "core/ops/pool.h"
#include "layers/batch_norm.h"
#include "layers/first_last.h"
#include "layers/norm_relu.h"
#include "models/residual_block.h"
#include "models/resnet_imagenet.h"
#include "tests/emulation/block.h"
#include "tests/emulation/fresh_memory.h"
#include "tests/emulation/training.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct Step {
  std::vector<cuda::Node> nodes;
  Tensor loss, logits;
  std::vector<Tensor> buffers;
  std::vector<Tensor> gradients;  // the velocities after a step without weight decay
  std::vector<std::string> names;

  Tensor thresholds() const {
    std::vector<float> found;
    for (size_t i = 0; i < names.size(); ++i)
      if (names[i].ends_with("act_alpha")) found.push_back(static_cast<float>(gradients[i].item()));
    return Tensor::from<float>({static_cast<int64_t>(found.size())}, found);
  }

  size_t jobs_of(std::string_view name) const {
    size_t jobs = 0;
    for (const cuda::Node& node : nodes) jobs += node.name == name ? node.jobs : 0;
    return jobs;
  }
};

template <typename Make>
Step run_step(const Tensor& images, const Tensor& labels, bool chains, Make&& make) {
  cuda::Context::get().set_blocks_together(chains);
  Training training(make(), images, labels, kCuda, 0);
  training.optimizer->set_rate_factor(1);
  const auto work = cuda_device().repeat();
  Step step;
  step.nodes = cuda::Context::get().nodes_of([&] { work->run([&] { training.step(); }); });
  cuda::Context::get().set_blocks_together(true);
  CHECK_FALSE(cuda_device().take_trouble());
  step.loss = training.loss.on({});
  step.logits = training.logits.on({});
  for (const auto& buffer : training.model->buffers()) step.buffers.push_back(buffer.tensor->on({}).to(DType::f32));
  for (const Sgd::State& state : training.optimizer->state()) {
    step.gradients.push_back(state.momentum.on({}));
    step.names.push_back(state.name);
  }
  return step;
}

// The forward half has the same bits; gradients differ by the order of the batch norms' sums, and where that makes a
// bf16 another one. Those of thresholds are sums that cancel, of distances that a chain keeps in a byte (distance.h):
// compared as one vector. Returns the step with chains.
template <typename Make>
Step compare(const Shape& shape, size_t forward, size_t backward, Make&& make) {
  CAPTURE(shape);
  Philox random = random_numbers(501);
  const Tensor images = random_tensor(shape, DType::f32, random);
  Tensor labels({shape[0]}, DType::s32);
  for (int32_t& label : labels.data<int32_t>()) label = static_cast<int32_t>(random.below(10));
  const Step chained = run_step(images, labels, true, make), plain = run_step(images, labels, false, make);
  CHECK(chained.jobs_of("forward chain") == forward);
  CHECK(chained.jobs_of("gradient chain") == backward);
  CHECK(plain.jobs_of("forward chain") + plain.jobs_of("gradient chain") == 0);
  CHECK(same_bits(chained.loss, plain.loss));
  CHECK(same_bits(chained.logits, plain.logits));
  for (size_t i = 0; i < plain.buffers.size(); ++i) CHECK(same_bits(chained.buffers[i], plain.buffers[i]));
  double worst = 0;
  for (size_t i = 0; i < plain.gradients.size(); ++i) {
    CAPTURE(i);
    if (plain.names[i].ends_with("act_alpha")) continue;
    const double error = relative_error(chained.gradients[i], plain.gradients[i]);
    CHECK(error < 2e-3);
    worst = std::max(worst, error);
  }
  const double threshold_error = relative_error(chained.thresholds(), plain.thresholds());
  CHECK(threshold_error < 1e-2);
  MESSAGE("largest difference of a gradient: ", worst, ", of the thresholds': ", threshold_error);
  return chained;
}

auto network(const std::string& name, int bits = 4, LevelMethod method = LevelMethod::apot) {
  ModelSettings settings = settings_of(method, QuantizerVariant::cifar, bits);
  settings.name = name;
  return [settings] { return make_model(settings); };
}

// Four blocks behind a pooling, each of twice the channels.
auto pooled_network() {
  ResNetImageNet::Plan plan;
  plan.blocks = {1, 1, 1, 1};
  plan.width = 16;
  const QuantSettings quant = settings_of(LevelMethod::apot, QuantizerVariant::imagenet, 4).quant;
  return [plan, quant] { return std::make_unique<ResNetImageNet>(plan, 10, quant); };
}

// Two blocks of so many channels behind the first convolution and, where it grows, one of twice as many.
class FewBlocks : public Model {
 public:
  explicit FewBlocks(int64_t width, bool grows = true, int64_t inputs = 3, int64_t kernel = 3)
      : first_(inputs, width, kernel, 1, kernel / 2, FirstLastRule::apot_compat),
        norm_(width),
        linear_(grows ? 2 * width : width, 10, FirstLastRule::apot_compat) {
    const QuantSettings quant = settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4).quant;
    blocks_.push_back(std::make_unique<BasicBlock>(width, width, 1, quant));
    blocks_.push_back(std::make_unique<BasicBlock>(width, width, 1, quant));
    if (grows) blocks_.push_back(std::make_unique<BasicBlock>(width, 2 * width, 2, quant));
    add_module("first", first_);
    add_module("norm", norm_);
    for (size_t i = 0; i < blocks_.size(); ++i) add_module(text("block", i), *blocks_[i]);
    add_module("linear", linear_);
    name_modules();
  }
  Variable forward(const Variable& images) override {
    Variable x = NormRelu(norm_, first_.forward(images)).value();
    for (const auto& block : blocks_) x = block->forward(x);
    return linear_.forward(global_average_pool(x));
  }

 private:
  FirstConv2d first_;
  BatchNorm norm_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  LastLinear linear_;
};

// A block whose value is rounded for two more convolutions, and its mean taken, before either of them begins.
class EarlyQuantizers : public Model {
 public:
  explicit EarlyQuantizers(int blocks)
      : quant_(settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4).quant),
        first_(3, 16, 3, 1, 1, FirstLastRule::apot_compat),
        norm_(16),
        a_(16, 16, 3, {1, 1, 1}, quant_),
        b_(16, 16, 3, {1, 1, 1}, quant_),
        norm_a_(16),
        norm_b_(16),
        linear_(16, 10, FirstLastRule::apot_compat) {
    for (int i = 0; i < blocks; ++i) blocks_.push_back(std::make_unique<BasicBlock>(16, 16, 1, quant_));
    add_module("first", first_);
    add_module("norm", norm_);
    for (size_t i = 0; i < blocks_.size(); ++i) add_module(text("block", i), *blocks_[i]);
    add_module("a", a_);
    add_module("b", b_);
    add_module("norm_a", norm_a_);
    add_module("norm_b", norm_b_);
    add_module("linear", linear_);
    name_modules();
  }
  Variable forward(const Variable& images) override {
    Variable x = NormRelu(norm_, first_.forward(images)).value();
    for (const auto& block : blocks_) x = block->forward(x);
    const Variable to_a = a_.activation_quantizer->forward(x, "a"), to_b = b_.activation_quantizer->forward(x, "b");
    const Variable mean = global_average_pool(x);
    const Variable a = convolve(a_, to_a), b = norm_b_.forward(convolve(b_, to_b));
    return linear_.forward(add(mean, global_average_pool(norm_add_relu(norm_a_, a, b))));
  }

 private:
  static Variable convolve(const QuantConv2d& conv, const Variable& codes) {
    return conv2d_codes_statistics(codes, conv.weight_quantizer->forward(conv.weight, conv.name()), {1, 1, 1});
  }

  QuantSettings quant_;
  FirstConv2d first_;
  BatchNorm norm_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  QuantConv2d a_, b_;
  BatchNorm norm_a_, norm_b_;
  LastLinear linear_;
};

}  // namespace

TEST_CASE("cuda: chains compute what single launches do, for images of many shapes") {
  const FreshMemory fresh;
  const auto resnet8 = network("resnet8");
  compare({2, 32, 32, 3}, 8, 8, resnet8);
  compare({3, 13, 16, 3}, 8, 8, resnet8);
  compare({4, 5, 7, 3}, 8, 8, resnet8);
  compare({1, 29, 32, 3}, 8, 8, resnet8);
  compare({2, 1, 2, 3}, 8, 8, resnet8);
  compare({1, 33, 33, 3}, 0, 0, resnet8);  // more pixels than a block holds
  // More images than there are multiprocessors, 4 of the emulated device.
  if (cuda::Context::get().description().starts_with("emulated device")) compare({5, 8, 8, 3}, 0, 0, resnet8);
}

TEST_CASE("cuda: chains of other levels, deeper networks and more channels") {
  const FreshMemory fresh;
  SUBCASE("2 bit") { compare({2, 16, 16, 3}, 8, 8, network("resnet8", 2)); }
  SUBCASE("uniform") { compare({2, 20, 20, 3}, 8, 8, network("resnet8", 5, LevelMethod::uniform)); }
  // Those behind the cut take what is kept out of memory.
  SUBCASE("more links than a launch has") { compare({1, 8, 8, 3}, 56, 56, network("resnet56")); }
  // The gradient of a pooled image is a float32 tensor: who finds that goes alone.
  SUBCASE("from 16 channels, behind a pooling") { compare({2, 32, 32, 3}, 8, 7, pooled_network()); }
  SUBCASE("images of one channel, 5 x 5") {
    compare({2, 12, 12, 1}, 7, 7, [] { return std::make_unique<FewBlocks>(16, true, 1, 5); });
  }
  SUBCASE("from 32 channels") {
    compare({2, 16, 16, 3}, 7, 7, [] { return std::make_unique<FewBlocks>(32); });
  }
  SUBCASE("from 64 channels") {
    compare({2, 8, 8, 3}, 4, 4, [] { return std::make_unique<FewBlocks>(64, false); });
  }
}

TEST_CASE("cuda: a chain ends with the mean over its images where a block has room for the value") {
  const FreshMemory fresh;
  const auto narrow = [] { return std::make_unique<FewBlocks>(16, false); };
  const auto launches_behind = [](const Step& step) { return step.jobs_of("evaluate") + step.jobs_of("average pool"); };
  CHECK(launches_behind(compare({2, 26, 26, 3}, 4, 4, narrow)) == 0);
  CHECK(launches_behind(compare({2, 27, 27, 3}, 4, 4, narrow)) == 2);
  CHECK(launches_behind(compare({2, 32, 32, 3}, 8, 8, network("resnet8"))) == 0);
  CHECK(launches_behind(compare({2, 4, 4, 3}, 8, 8, network("resnet8"))) == 0);  // over one pixel
}

TEST_CASE("cuda: a value that is rounded twice before it is read") {
  const FreshMemory fresh;
  compare({2, 12, 12, 3}, 2, 2, [] { return std::make_unique<EarlyQuantizers>(1); });
  compare({2, 12, 12, 3}, 4, 4, [] { return std::make_unique<EarlyQuantizers>(2); });
}

TEST_CASE("cuda: gradients of thresholds that are scaled do not end a chain") {
  const FreshMemory fresh;
  ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::imagenet, 3);
  settings.name = "resnet8";
  settings.quant.threshold_gradient.scale = 0.1;
  compare({2, 16, 16, 3}, 8, 8, [&] { return make_model(settings); });
}

TEST_CASE("cuda: chains can be left out") {
  ::setenv("APOTNET_CHAINS", "off", 1);
  compare({2, 8, 8, 3}, 0, 0, network("resnet8"));
  ::unsetenv("APOTNET_CHAINS");
}

TEST_CASE("cuda: a batch norm that does not take the batch's statistics ends a chain") {
  const FreshMemory fresh;
  const auto frozen = [](const std::string& name) {
    return [name] {
      auto model = network("resnet8")();
      bool found = false;
      model->for_each_module([&](Module& module) {
        if (module.name() != name) return;
        module.set_training(false);
        found = true;
      });
      REQUIRE(found);
      return model;
    };
  };
  // 3 of 8 convolutions come before it.
  SUBCASE("the first one") { compare({2, 16, 16, 3}, 8, 8, frozen("bn1")); }
  SUBCASE("inside") { compare({2, 16, 16, 3}, 6, 8, frozen("layer2.0.bn1")); }
  SUBCASE("the last one") { CHECK(compare({2, 16, 16, 3}, 8, 8, frozen("layer3.0.bn2")).jobs_of("average pool") == 1); }
}

TEST_CASE("cuda: chains repeat their bits, whatever the order of blocks") {
  const FreshMemory fresh;
  Philox random = random_numbers(502);
  const Tensor images = random_tensor({4, 16, 16, 3}, DType::f32, random), labels = Tensor::zeros({4}, DType::s32);
  std::vector<Step> steps;
  for (const uint64_t seed : {31, 32, 33}) {
    emulation::seed(seed);
    steps.push_back(run_step(images, labels, true, network("resnet8")));
  }
  for (const Step& step : steps)
    for (size_t i = 0; i < step.gradients.size(); ++i) CHECK(same_bits(step.gradients[i], steps[0].gradients[i]));
}
