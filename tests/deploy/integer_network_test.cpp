#include "deploy/integer_network.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/base/parallel.h"
#include "core/ops/elementwise.h"
#include "core/ops/pool.h"
#include "deploy/compile.h"
#include "layers/batch_norm.h"
#include "layers/first_last.h"
#include "layers/norm_relu.h"
#include "layers/quant_conv2d.h"
#include "models/registry.h"
#include "tests/support/lively_model.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::equal(a.raw(), a.raw() + a.bytes(), b.raw());
}

}  // namespace

TEST_CASE("the integer network gives evaluation's logits, all bits, for every level set of up to 8 bits") {
  const Tensor images = normal_images(5);
  uint64_t seed = 1;
  for (const LevelMethod method : {LevelMethod::apot, LevelMethod::uniform, LevelMethod::pot})
    for (const int bits : {2, 3, 4, 5, 8}) {
      if ((method == LevelMethod::apot && bits > 5) || (method == LevelMethod::pot && bits > 3)) continue;
      INFO(name_of(method), " ", bits, " bits");
      const auto model = lively_model("resnet20", method, bits, ++seed);
      const Tensor wanted = evaluated(*model, images);
      const auto network = compile(*model, 32, 32, 3);
      for (const int threads : {1, 2}) {
        set_thread_count(threads);
        CHECK(same_bits(network->run(images), wanted));
        Tensor one({1, 32, 32, 3}, DType::f32);
        std::ranges::copy(images.data<float>().last(one.data<float>().size()), one.data<float>().begin());
        CHECK(std::ranges::equal(network->run(one).data<float>(), wanted.data<float>().last(10)));
      }
      set_thread_count(1);
      // Not all alike: the network does something.
      CHECK(wanted.data<float>()[0] != wanted.data<float>()[10]);
    }
}

TEST_CASE("the integer network of raw weights and of thresholds taught by clipped values gives evaluation's logits") {
  const Tensor images = normal_images(3);
  for (const LevelMethod method : {LevelMethod::apot, LevelMethod::uniform, LevelMethod::pot})
    for (const int bits : {2, 3, 4}) {
      if (method == LevelMethod::pot && bits == 4) continue;
      INFO(name_of(method), " ", bits, " bits");
      ModelSettings settings{.name = "resnet20", .classes = 10, .quant = {}};
      settings.quant.method = method;
      settings.quant.weight_bits = settings.quant.activation_bits = bits;
      const auto normalised = make_model(settings);
      make_lively(*normalised, 9);
      settings.quant.weight_norm = settings.quant.threshold_gradient.reparameterized = false;
      const auto raw = make_model(settings);
      make_lively(*raw, 9);
      const Tensor wanted = evaluated(*raw, images);
      CHECK(same_bits(compile(*raw, 32, 32, 3)->run(images), wanted));
      CHECK_FALSE(same_bits(evaluated(*normalised, images), wanted));
    }
}

TEST_CASE("the integer network of MobileNet-V2: signed inputs, each channel by itself, ReLU6") {
  const Tensor images = normal_images(3, 64, 6);
  for (const int bits : {2, 3, 4, 5}) {
    CAPTURE(bits);
    const auto model = lively_model("mobilenet_v2", LevelMethod::apot, bits, 20 + static_cast<uint64_t>(bits));
    const Tensor wanted = evaluated(*model, images);
    const auto network = compile(*model, 64, 64, 3);
    for (const int threads : {1, 2}) {
      set_thread_count(threads);
      CHECK(same_bits(network->run(images), wanted));
    }
    set_thread_count(1);
    CHECK(wanted.data<float>()[0] != wanted.data<float>()[10]);
  }
}

TEST_CASE("the integer network of a deeper ResNet, and of one with 100 classes' shortcuts") {
  const Tensor images = normal_images(2);
  const auto model = lively_model("resnet32", LevelMethod::apot, 4, 77);
  CHECK(same_bits(compile(*model, 32, 32, 3)->run(images), evaluated(*model, images)));
}

TEST_CASE("what an integer network cannot hold is refused by name") {
  const auto wide = lively_model("resnet20", LevelMethod::pot, 5, 3);
  CHECK_THROWS_WITH(compile(*wide, 32, 32, 3), doctest::Contains("codes of 8 bits"));
  const auto plain = lively_model("resnet20", LevelMethod::apot, 32, 3);
  CHECK_THROWS_WITH(compile(*plain, 32, 32, 3), doctest::Contains("no quantized convolution"));
}

TEST_CASE("an integer network says what it does, step by step, and refuses images of another size") {
  const auto model = lively_model("resnet20", LevelMethod::apot, 4, 9);
  const auto network = compile(*model, 32, 32, 3);
  const auto lines = network->description();
  CHECK(lines.size() == 24);  // 20 convolutions of codes, the first one and its values, pooling, linear
  CHECK(lines[2].starts_with("convolution 1: 3x3 16 -> 16 by "));
  CHECK_THROWS_WITH(network->run(Tensor({1, 16, 16, 3}, DType::f32)), doctest::Contains("made for [1, 32, 32, 3]"));
}

namespace {

// The same operations one by one, as a model that does not fuse them would call them: pooling before a quantizer, two
// convolutions that meet in a sum, an identity shortcut.
class OneByOne : public Model {
 public:
  explicit OneByOne(const QuantSettings& quant)
      : first_(3, 16, 3, 1, 1, FirstLastRule::apot_compat),
        first_norm_(16),
        left_(16, 32, 3, {2, 1, 1}, quant),
        right_(16, 32, 1, {2, 0, 1}, quant),
        last_(32, 32, 3, {1, 1, 1}, quant),
        left_norm_(32),
        right_norm_(32),
        last_norm_(32),
        linear_(32, 10, FirstLastRule::apot_compat) {
    add_module("first", first_);
    add_module("first_bn", first_norm_);
    add_module("left", left_);
    add_module("right", right_);
    add_module("last", last_);
    add_module("left_bn", left_norm_);
    add_module("right_bn", right_norm_);
    add_module("last_bn", last_norm_);
    add_module("linear", linear_);
  }

  Variable forward(const Variable& images) override {
    const Variable x = max_pool(relu(first_norm_.forward(first_.forward(images))), {2, 2, 0});
    const Variable sum = relu(add(left_norm_.forward(left_.forward(x)), right_norm_.forward(right_.forward(x))));
    const Variable y = relu(add(sum, last_norm_.forward(last_.forward(sum))));
    return linear_.forward(global_average_pool(y));
  }

 private:
  FirstConv2d first_;
  BatchNorm first_norm_;
  QuantConv2d left_, right_, last_;
  BatchNorm left_norm_, right_norm_, last_norm_;
  LastLinear linear_;
};

}  // namespace

TEST_CASE("the integer network of a model that calls its operations one by one") {
  QuantSettings quant;
  quant.weight_bits = quant.activation_bits = 3;
  OneByOne model(quant);
  model.name_modules();
  make_lively(model, 11);
  const Tensor images = normal_images(3);
  const auto network = compile(model, 32, 32, 3);
  CHECK(same_bits(network->run(images), evaluated(model, images)));
}

namespace {

// A batch norm behind a sum, or behind a ReLU.
class PreActivation : public Model {
 public:
  PreActivation(const QuantSettings& quant, bool behind_sum)
      : behind_sum_(behind_sum),
        first_(3, 16, 3, 1, 1, FirstLastRule::apot_compat),
        norms_{BatchNorm(16), BatchNorm(16), BatchNorm(16)},
        one_(16, 16, 3, {1, 1, 1}, quant),
        two_(16, 16, 3, {1, 1, 1}, quant),
        linear_(16, 10, FirstLastRule::apot_compat) {
    add_module("first", first_);
    add_module("one", one_);
    add_module("two", two_);
    for (int i = 0; i < 3; ++i) add_module(text("bn", i), norms_[i]);
    add_module("linear", linear_);
  }

  Variable forward(const Variable& images) override {
    const Variable x = NormRelu(norms_[0], first_.forward(images)).value();
    const Variable a = one_.forward(x), sum = NormRelu(norms_[1], behind_sum_ ? add(a, x) : a).value();
    const Variable b = two_.forward(sum), y = NormRelu(norms_[2], behind_sum_ ? b : relu(b)).value();
    return linear_.forward(global_average_pool(y));
  }

 private:
  const bool behind_sum_;
  FirstConv2d first_;
  BatchNorm norms_[3];
  QuantConv2d one_, two_;
  LastLinear linear_;
};

}  // namespace

TEST_CASE("batch norms behind a sum or a ReLU are refused, not computed in another order") {
  QuantSettings quant;
  quant.weight_bits = quant.activation_bits = 4;
  for (const bool behind_sum : {true, false}) {
    CAPTURE(behind_sum);
    PreActivation model(quant, behind_sum);
    model.name_modules();
    make_lively(model, 12);
    try {
      compile(model, 32, 32, 3);
      FAIL("compiled");
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::unavailable);
      CHECK(std::string(error.what()).find("no rule for norm_relu where this network has it") != std::string::npos);
    }
  }
}
