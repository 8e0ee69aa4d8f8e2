#include "core/ops/pool.h"

#include <numeric>

#include "core/base/error.h"
#include "core/ops/elementwise.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct PoolProblem {
  Shape x;
  PoolGeometry geometry;
};

const std::vector<PoolProblem> kProblems{
    {{2, 5, 7, 3}, {2, 2, 0}}, {{1, 5, 7, 2}, {3, 2, 1}}, {{1, 5, 7, 2}, {3, 1, 0}},
    {{2, 5, 5, 1}, {5, 5, 0}}, {{1, 4, 6, 3}, {2, 1, 1}}, {{2, 3, 3, 2}, {1, 2, 0}},
};

// All values a tenth apart, in random order: no maximum changes hands within a difference step.
Tensor shuffled_tenths(const Shape& shape, Philox& random) {
  Tensor x(shape, DType::f64);
  const auto values = x.data<double>();
  std::iota(values.begin(), values.end(), -static_cast<double>(values.size()) / 2);
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.below(static_cast<uint32_t>(i))]);
  for (double& value : values) value = value / 10 - 0.05;
  return x;
}

}  // namespace

TEST_CASE("gradient: average pool") {
  for (const PoolProblem& p : kProblems) {
    INFO(text(p.x, " window ", p.geometry.window, " stride ", p.geometry.stride, " padding ", p.geometry.padding));
    Philox random = random_numbers(41);
    expect_gradients([&](const auto& in) { return average_pool(in[0], p.geometry); },
                     {random_tensor(p.x, DType::f64, random)});
  }
}

TEST_CASE("gradient: max pool") {
  for (const PoolProblem& p : kProblems) {
    INFO(text(p.x, " window ", p.geometry.window, " stride ", p.geometry.stride, " padding ", p.geometry.padding));
    Philox random = random_numbers(42);
    expect_gradients([&](const auto& in) { return max_pool(in[0], p.geometry); }, {shuffled_tenths(p.x, random)});
  }
}

TEST_CASE("gradient: global average pool") {
  Philox random = random_numbers(43);
  expect_gradients([](const auto& in) { return global_average_pool(in[0]); },
                   {random_tensor({3, 5, 5, 4}, DType::f64, random)});
}

TEST_CASE("pool: padded zeros count in an average and never in a maximum; the first of equal maxima wins") {
  const Variable x(Tensor::full({1, 2, 2, 1}, DType::f64, -4), true);
  CHECK(doubles(average_pool(x, {2, 2, 1}).value()) == std::vector<double>{-1, -1, -1, -1});
  CHECK(doubles(max_pool(x, {2, 2, 1}).value()) == std::vector<double>{-4, -4, -4, -4});
  Variable equal(Tensor::full({1, 2, 2, 1}, DType::f64, 1), true);
  reshape(max_pool(equal, {2, 2, 0}), {}).backward();
  CHECK(doubles(equal.grad()) == std::vector<double>{1, 0, 0, 0});
}

TEST_CASE("pool: windows that do not fit are errors with the shape") {
  const Variable x(Tensor::zeros({1, 3, 5, 2}, DType::f32));
  CHECK_THROWS_AS(average_pool(x, {4, 1, 0}), Error);
  CHECK_THROWS_AS(max_pool(x, {2, 2, 2}), Error);
  CHECK_THROWS_WITH_AS(global_average_pool(x), "global pooling: image 3 x 5 is not square", Error);
}
