#include "core/ops/linear.h"

#include "core/base/error.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("gradient: linear") {
  for (const auto& [n, in, out] : std::vector<std::array<int64_t, 3>>{{5, 7, 3}, {1, 1, 4}, {3, 9, 1}}) {
    Philox random = random_numbers(51);
    const Shape bias{out};
    expect_gradients([](const auto& v) { return linear(v[0], v[1], v[2]); },
                     {random_tensor({n, in}, DType::f64, random), random_tensor({out, in}, DType::f64, random),
                      random_tensor(bias, DType::f64, random)});
  }
}

TEST_CASE("linear: shapes that do not fit are an error with all three") {
  const auto zeros = [](const Shape& shape) { return Variable(Tensor::zeros(shape, DType::f32)); };
  CHECK_THROWS_WITH_AS(linear(zeros({2, 3}), zeros({4, 5}), zeros({4})),
                       "linear: input [2, 3] (N, I), weight [4, 5] (O, I) and bias [4] (O) do not fit", Error);
  CHECK_THROWS_AS(linear(zeros({2, 5}), zeros({4, 5}), zeros({5})), Error);
}
