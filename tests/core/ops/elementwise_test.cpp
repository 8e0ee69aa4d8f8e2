#include "core/ops/elementwise.h"

#include <limits>

#include "core/base/error.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("gradient: relu6 and scale") {
  Philox random = random_numbers(72);
  Tensor x = away_from_zero({2, 5, 7, 3}, random);
  for (double& value : x.data<double>()) value *= std::abs(value * 5 - 6) < 0.1 ? 6 : 5;  // away from 6 as well
  expect_gradients([](const auto& in) { return relu6(in[0]); }, {x});
  expect_gradients([](const auto& in) { return scale(in[0], -0.3); }, {x});
  const Variable y = relu6(Variable(Tensor::from<float>({5}, {-1, 0, 3, 6, 7})));
  CHECK(std::ranges::equal(y.value().data<float>(), std::vector<float>{0, 0, 3, 6, 6}));
}

TEST_CASE("gradient: relu") {
  Philox random = random_numbers(31);
  expect_gradients([](const auto& in) { return relu(in[0]); }, {away_from_zero({2, 5, 7, 3}, random)});
}

TEST_CASE("gradient: add, of two variables and of one to itself") {
  Philox random = random_numbers(32);
  const Tensor a = random_tensor({2, 5, 7, 3}, DType::f64, random), b = random_tensor(a.shape(), DType::f64, random);
  expect_gradients([](const auto& in) { return add(in[0], in[1]); }, {a, b});
  expect_gradients([](const auto& in) { return add(add(in[0], in[1]), in[0]); }, {a, b});
}

TEST_CASE("gradient: reshape") {
  Philox random = random_numbers(33);
  expect_gradients(
      [](const auto& in) {
        return reshape(in[0], {6, 35});
      },
      {random_tensor({2, 5, 7, 3}, DType::f64, random)});
}

TEST_CASE("relu: zero has no gradient, and not-a-number stays to be seen") {
  for (const Backend backend : {Backend::reference, Backend::cpu}) {
    const BackendScope scope(backend);
    Variable x(Tensor::from<float>({4}, {-1, 0, 2, std::numeric_limits<float>::quiet_NaN()}), true);
    const Variable y = relu(x);
    CHECK(doubles(y.value())[0] == 0);
    CHECK(std::isnan(doubles(y.value())[3]));
    Variable sum = Variable::record(Tensor::scalar(0, DType::f32), {y}, [](const Tensor&, Gradients& gradients) {
      gradients.add(0, Tensor::full({4}, DType::f32, 1));
    });
    sum.backward();
    CHECK(doubles(x.grad()) == std::vector<double>{0, 0, 1, 0});
  }
}

TEST_CASE("add and reshape: shapes that do not fit are errors with both shapes") {
  const Variable a(Tensor::zeros({2, 3}, DType::f32)), b(Tensor::zeros({3, 2}, DType::f32));
  CHECK_THROWS_WITH_AS(add(a, b), "add: shapes [2, 3] and [3, 2] differ", Error);
  CHECK_THROWS_WITH_AS(reshape(a, {4}), "cannot see a tensor of shape [2, 3] as [4]", Error);
}
