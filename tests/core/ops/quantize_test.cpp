#include "core/ops/quantize.h"

#include "core/base/error.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct QuantizerProblem {
  LevelMethod method;
  int bits;
};

const std::vector<QuantizerProblem> kWeights{
    {LevelMethod::apot, 2},    {LevelMethod::apot, 3},    {LevelMethod::apot, 4}, {LevelMethod::apot, 5},
    {LevelMethod::apot, 7},    {LevelMethod::pot, 3},     {LevelMethod::pot, 5},  {LevelMethod::uniform, 3},
    {LevelMethod::uniform, 5}, {LevelMethod::uniform, 8},
};
const std::vector<QuantizerProblem> kActivations{
    {LevelMethod::apot, 2}, {LevelMethod::apot, 3}, {LevelMethod::apot, 4},    {LevelMethod::apot, 5},
    {LevelMethod::apot, 6}, {LevelMethod::pot, 3},  {LevelMethod::uniform, 2}, {LevelMethod::uniform, 4},
};

constexpr double kAlpha = 1.3;

// Values over [-2 alpha, 2 alpha] that keep a hundredth away from the kinks of clipping, z = -1, 0 and 1. Half of them
// lie near zero, where the levels are dense.
Tensor quantizer_input(Philox& random) {
  Tensor x({2, 5, 7, 6}, DType::f64);
  for (double& value : x.data<double>()) {
    double z = 0;
    while (std::abs(z) < 0.01 || std::abs(std::abs(z) - 1) < 0.01)
      z = (random.below(2) ? 1 : -1) * (random.below(2) ? 2 * random.uniform() : std::exp2(-7.0 * random.uniform()));
    value = kAlpha * z;
  }
  return x;
}

// alpha * (clip(z) + r) with r = q - clip(z) frozen at the point itself: what a straight-through quantizer is
// differentiated as. `learning` scales the dependence on alpha alone; where only the clipped values teach alpha, r is
// frozen in the units of the values: alpha * clip(z) + r.
CheckedFunction surrogate_of(const Tensor& point, const Quantized& q, std::function<double(double)> clip,
                             const ThresholdGradient& learning = {}) {
  std::vector<double> residuals;
  const std::vector<double> codes = doubles(q.codes), x = doubles(point);
  for (size_t i = 0; i < x.size(); ++i)
    residuals.push_back(codes[i] / static_cast<double>(q.levels->k()) - clip(x[i] / kAlpha));
  return [=](const std::vector<Variable>& in) {
    const double alpha = kAlpha + learning.scale * (in[1].value().item() - kAlpha);
    const double unit = learning.reparameterized ? alpha : kAlpha;
    Tensor value = in[0].value().clone();
    for (size_t i = 0; i < residuals.size(); ++i)
      value.data<double>()[i] = alpha * clip(value.data<double>()[i] / alpha) + unit * residuals[i];
    return Variable(value);
  };
}

double clip_both(double z) { return std::clamp(z, -1.0, 1.0); }
double clip_above(double z) { return std::min(z, 1.0); }
double clip_unit(double z) { return std::clamp(z, 0.0, 1.0); }
double no_clip(double z) { return z; }

void check_weights(QuantizerVariant variant, const ThresholdGradient& learning = {}) {
  for (const QuantizerProblem& problem : kWeights) {
    CAPTURE(name_of(problem.method));
    CAPTURE(problem.bits);
    const LevelSet& levels = LevelSet::for_weights(problem.method, problem.bits);
    Philox random = random_numbers(71);
    const std::vector<Tensor> point{quantizer_input(random), Tensor::scalar(kAlpha, DType::f64)};
    const auto quantizer = [&](const std::vector<Variable>& in) {
      return quantize_weight(in[0], in[1], levels, variant, "conv", learning);
    };
    const Quantized q = quantizer({Variable(point[0]), Variable(point[1])}).quantized();
    if (problem.bits <= 4) check_all_levels(q, true);
    const auto values = [&](const std::vector<Variable>& in) { return values_of(quantizer(in)); };
    const bool clips = variant == QuantizerVariant::imagenet && levels.method() != LevelMethod::ternary;
    expect_gradients(values, surrogate_of(point[0], q, clips ? clip_both : no_clip), point, {.checked = {true, false}});
    expect_gradients(values, surrogate_of(point[0], q, clip_both, learning), point, {.checked = {false, true}});
  }
}

void check_activations(QuantizerVariant variant, const ThresholdGradient& learning = {}) {
  for (const QuantizerProblem& problem : kActivations) {
    CAPTURE(name_of(problem.method));
    CAPTURE(problem.bits);
    const LevelSet& levels = LevelSet::for_activations(problem.method, problem.bits);
    Philox random = random_numbers(72);
    const std::vector<Tensor> point{quantizer_input(random), Tensor::scalar(kAlpha, DType::f64)};
    const auto quantizer = [&](const std::vector<Variable>& in) {
      return quantize_activation(in[0], in[1], levels, variant, "conv", learning);
    };
    const Quantized q = quantizer({Variable(point[0]), Variable(point[1])}).quantized();
    if (problem.bits <= 4) check_all_levels(q, false);
    const auto clip = variant == QuantizerVariant::cifar ? clip_above : clip_unit;
    expect_gradients([&](const auto& in) { return values_of(quantizer(in)); },
                     surrogate_of(point[0], q, clip, learning), point);
  }
}

}  // namespace

TEST_CASE("gradient: quantize_weight, cifar") { check_weights(QuantizerVariant::cifar); }
TEST_CASE("gradient: quantize_weight, imagenet") { check_weights(QuantizerVariant::imagenet); }
TEST_CASE("gradient: quantize_weight, gradient scale") { check_weights(QuantizerVariant::imagenet, {.scale = 0.01}); }
TEST_CASE("gradient: quantize_signed_activation is that of the weights of the imagenet variant") {
  Philox random = random_numbers(73);
  for (const int bits : {2, 3, 4, 5}) {
    const LevelSet& levels = LevelSet::for_weights(LevelMethod::apot, bits);
    const std::vector<Tensor> point{quantizer_input(random), Tensor::scalar(kAlpha, DType::f64)};
    const auto quantizer = [&](const std::vector<Variable>& in) {
      return quantize_signed_activation(in[0], in[1], levels, "conv");
    };
    const Quantized q = quantizer({Variable(point[0]), Variable(point[1])}).quantized();
    CHECK(q.codes.dtype() == DType::s8);
    const auto values = [&](const std::vector<Variable>& in) { return values_of(quantizer(in)); };
    expect_gradients(values, surrogate_of(point[0], q, bits > 2 ? clip_both : no_clip), point,
                     {.checked = {true, false}});
    expect_gradients(values, surrogate_of(point[0], q, clip_both), point, {.checked = {false, true}});
  }
}
TEST_CASE("gradient: quantize_activation, cifar") { check_activations(QuantizerVariant::cifar); }
TEST_CASE("gradient: quantize_activation, imagenet") { check_activations(QuantizerVariant::imagenet); }
TEST_CASE("gradient: quantize_activation, gradient scale") {
  check_activations(QuantizerVariant::imagenet, {.scale = 0.01});
}

TEST_CASE("gradient: both quantizers when only the clipped values teach the threshold") {
  for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet}) {
    check_weights(variant, {.reparameterized = false});
    check_activations(variant, {.reparameterized = false});
  }
}

TEST_CASE("gradient: round_to_8bit, every rule (the surrogate is the identity)") {
  for (const auto rule : {FirstLastRule::apot_compat, FirstLastRule::absmax8, FirstLastRule::none}) {
    Philox random = random_numbers(73);
    expect_gradients([&](const auto& in) { return round_to_8bit(in[0], rule, "fc"); },
                     [](const auto& in) { return in[0]; }, {random_tensor({4, 3, 3, 5}, DType::f64, random)});
  }
}

TEST_CASE("round_to_8bit: 127ths of the signed maximum or of the largest magnitude, half to even") {
  const auto rounded = [](std::vector<double> w, FirstLastRule rule) {
    const Shape shape{static_cast<int64_t>(w.size())};
    return doubles(round_to_8bit(Variable(Tensor::from<double>(shape, w)), rule, "fc").value());
  };
  const std::vector<double> w{127, -145.4, 0.5, 1.5, -0.6};
  CHECK(rounded(w, FirstLastRule::none) == w);
  const std::vector<double> signed_maximum = rounded(w, FirstLastRule::apot_compat);
  const std::vector<double> expected{127, -145, 0, 2, -1};
  for (size_t i = 0; i < w.size(); ++i) CHECK(signed_maximum[i] == doctest::Approx(expected[i]));
  const std::vector<double> magnitude = rounded({-254, 127, 3.1}, FirstLastRule::absmax8);
  CHECK(magnitude[0] == doctest::Approx(-254));
  CHECK(magnitude[1] == doctest::Approx(128));  // 63.5 of 127ths: to the even 64
  CHECK(magnitude[2] == doctest::Approx(4));
}

TEST_CASE("quantize: codes times step, the step rounded once, negative activations at level 0") {
  const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, 2);
  const Variable alpha(Tensor::scalar(0.3, DType::f32));
  const Variable x(Tensor::from<float>({6}, {-1.0f, 0.01f, 0.08f, 0.16f, 0.29f, 9.0f}));
  for (const Backend backend : {Backend::reference, Backend::cpu}) {
    const BackendScope scope(backend);
    const Quantized a = quantize_activation(x, alpha, levels, QuantizerVariant::cifar, "conv").quantized();
    CHECK(doubles(a.codes) == std::vector<double>{0, 0, 1, 2, 4, 4});
    CHECK(a.step.data<float>()[0] == 0.3f / 4);
    const Quantized w = quantize_weight(x, alpha, levels, QuantizerVariant::cifar, "conv").quantized();
    CHECK(doubles(w.codes) == std::vector<double>{-4, 0, 1, 2, 4, 4});
    CHECK(doubles(values_of(Variable(w)).value())[2] == static_cast<double>(1.0f * (0.3f / 4)));
  }
}

TEST_CASE("quantize: a threshold that is not positive and finite stops with the layer's name") {
  const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, 2);
  const Variable x(Tensor::full({3}, DType::f32, 1));
  for (const double value : {0.0, -1.0, std::nan(""), static_cast<double>(INFINITY)}) {
    const Variable alpha(Tensor::scalar(value, DType::f32));
    for (const bool weights : {true, false}) {
      try {
        weights ? quantize_weight(x, alpha, levels, QuantizerVariant::cifar, "layer1.0.conv2")
                : quantize_activation(x, alpha, levels, QuantizerVariant::cifar, "layer1.0.conv2");
        FAIL("no error");
      } catch (const Error& error) {
        CHECK(error.category() == ErrorCategory::diverged);
        CHECK(std::string(error.what()).starts_with("layer1.0.conv2: "));
      }
    }
  }
  for (const double largest : {0.0, static_cast<double>(INFINITY)})
    CHECK_THROWS_AS(round_to_8bit(Variable(Tensor::full({3}, DType::f32, largest)), FirstLastRule::apot_compat, "fc"),
                    Error);
}
