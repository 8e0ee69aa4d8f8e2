#include "core/ops/cross_entropy.h"

#include "core/base/error.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("gradient: cross entropy, plain and smoothed") {
  for (const double smoothing : {0.0, 0.1, 0.5}) {
    CAPTURE(smoothing);
    Philox random = random_numbers(52);
    const Tensor labels = Tensor::from<int32_t>({5}, {0, 6, 3, 3, 1});
    expect_gradients([&](const auto& in) { return cross_entropy(in[0], labels, smoothing); },
                     {random_tensor({5, 7}, DType::f64, random, 3)});
  }
}

TEST_CASE("cross entropy: known values, and logits far from zero stay finite") {
  const Tensor labels = Tensor::from<int32_t>({2}, {0, 2});
  const auto loss = [&](std::vector<double> logits, double smoothing) {
    return cross_entropy(Variable(Tensor::from<double>({2, 3}, logits)), labels, smoothing).value().item();
  };
  CHECK(loss({0, 0, 0, 0, 0, 0}, 0) == doctest::Approx(std::log(3.0)));
  CHECK(loss({0, 0, 0, 0, 0, 0}, 0.1) == doctest::Approx(std::log(3.0)));
  CHECK(loss({1000, 0, 0, -1000, -1000, 0}, 0) == doctest::Approx(0));
  // -log p = 1000 for the smoothed share of each of the two wrong classes
  CHECK(loss({1000, 0, 0, -1000, -1000, 0}, 0.3) == doctest::Approx(0.3 / 3 * 2 * 1000));
}

TEST_CASE("cross entropy: a label outside the classes is damaged data") {
  const Variable logits(Tensor::zeros({2, 3}, DType::f32));
  for (const int32_t label : {-1, 3})
    CHECK_THROWS_AS(cross_entropy(logits, Tensor::from<int32_t>({2}, {0, label})), Error);
  CHECK_THROWS_AS(cross_entropy(logits, Tensor::from<int32_t>({3}, {0, 1, 2})), Error);
}
