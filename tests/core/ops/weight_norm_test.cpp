#include "core/ops/weight_norm.h"

#include "core/base/error.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const std::vector<Shape> kShapes{{4, 3, 3, 5}, {2, 1, 1, 1}, {5, 3, 3, 1}};

// The weights' mean and unbiased standard deviation.
std::pair<double, double> statistics(const Tensor& w) {
  double sum = 0, squares = 0;
  const auto n = static_cast<double>(w.elements());
  for (const double value : doubles(w)) sum += value;
  for (const double value : doubles(w)) squares += (value - sum / n) * (value - sum / n);
  return {sum / n, std::sqrt(squares / (n - 1))};
}

}  // namespace

TEST_CASE("gradient: weight norm, imagenet (through mean and std)") {
  for (const Shape& shape : kShapes) {
    INFO(text(shape));
    Philox random = random_numbers(61);
    expect_gradients([](const auto& in) { return weight_norm(in[0], false, "conv"); },
                     {random_tensor(shape, DType::f64, random, 0.3, 0.1)});
  }
}

// The surrogate freezes mean and std at the weights themselves.
TEST_CASE("gradient: weight norm, cifar (mean and std are constants)") {
  for (const Shape& shape : kShapes) {
    INFO(text(shape));
    Philox random = random_numbers(62);
    const Tensor w = random_tensor(shape, DType::f64, random, 0.3, 0.1);
    const auto [mean, std] = statistics(w);
    expect_gradients([](const auto& in) { return weight_norm(in[0], true, "conv"); },
                     [mean = mean, std = std](const std::vector<Variable>& in) {
                       Tensor w_hat = in[0].value().clone();
                       for (double& value : w_hat.data<double>()) value = (value - mean) / std;
                       return Variable(w_hat);
                     },
                     {w});
  }
}

TEST_CASE("weight norm: the result has mean 0 and unbiased deviation 1") {
  Philox random = random_numbers(63);
  const auto [mean, std] =
      statistics(weight_norm(Variable(random_tensor({8, 3, 3, 5}, DType::f32, random, 0.02, 7)), true, "conv").value());
  CHECK(std::abs(mean) < 1e-4);
  CHECK(std == doctest::Approx(1).epsilon(1e-5));
}

TEST_CASE("weight norm: weights without a usable deviation stop with the layer's name") {
  for (const std::vector<float>& weights : {std::vector<float>{2, 2, 2}, {1}, {1, std::nanf("")}, {1, INFINITY}}) {
    const Variable w(Tensor::from<float>({static_cast<int64_t>(weights.size())}, weights));
    try {
      weight_norm(w, true, "layer2.0.conv1");
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::diverged);
      CHECK(std::string(error.what()).starts_with("layer2.0.conv1: "));
    }
  }
}
