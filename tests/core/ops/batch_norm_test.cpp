#include "core/ops/batch_norm.h"

#include "core/base/error.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const std::vector<Shape> kShapes{{2, 5, 7, 3}, {4, 1, 1, 5}, {7, 2}, {3, 3, 5, 1}};

std::vector<Tensor> inputs_of(const Shape& shape, Philox& random) {
  const int64_t channels = shape[shape.rank() - 1];
  return {random_tensor(shape, DType::f64, random, 1.5, 0.4), random_tensor({channels}, DType::f64, random, 0.5, 1),
          random_tensor({channels}, DType::f64, random)};
}

}  // namespace

TEST_CASE("gradient: batch norm, training (through the batch's statistics)") {
  for (const Shape& shape : kShapes) {
    INFO(text(shape));
    Philox random = random_numbers(21);
    expect_gradients(
        [](const auto& in) {
          Tensor mean = Tensor::zeros(in[1].shape(), DType::f64), variance = Tensor::full(in[1].shape(), DType::f64, 1);
          return batch_norm_train(in[0], in[1], in[2], 1e-5, 0.1, mean, variance);
        },
        inputs_of(shape, random));
  }
}

TEST_CASE("gradient: batch norm, evaluation (statistics are constants)") {
  for (const Shape& shape : kShapes) {
    INFO(text(shape));
    Philox random = random_numbers(22);
    const Tensor mean = random_tensor({shape[shape.rank() - 1]}, DType::f64, random);
    const Tensor variance = Tensor::full(mean.shape(), DType::f64, 1.7);
    expect_gradients([&](const auto& in) { return batch_norm_eval(in[0], in[1], in[2], 1e-5, mean, variance); },
                     inputs_of(shape, random));
  }
}

TEST_CASE("batch norm: normalises, and blends the unbiased variance into the running statistics") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    Philox random = random_numbers(23);
    const Variable x(random_tensor({6, 5, 7, 2}, dtype, random, 3, 5)), gamma(Tensor::full({2}, dtype, 2)),
        beta(Tensor::full({2}, dtype, 0.5));
    Tensor running_mean = Tensor::full({2}, dtype, 1), running_variance = Tensor::full({2}, dtype, 4);
    const auto y = doubles(batch_norm_train(x, gamma, beta, 0, 0.1, running_mean, running_variance).value());
    const std::vector<double> xs = doubles(x.value());
    for (size_t c = 0; c < 2; ++c) {
      double sum = 0, squares = 0, y_sum = 0, y_squares = 0;
      const double n = static_cast<double>(xs.size()) / 2;
      for (size_t i = c; i < xs.size(); i += 2) sum += xs[i], y_sum += y[i];
      for (size_t i = c; i < xs.size(); i += 2) {
        squares += (xs[i] - sum / n) * (xs[i] - sum / n);
        y_squares += (y[i] - y_sum / n) * (y[i] - y_sum / n);
      }
      const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-5;
      CHECK(std::abs(y_sum / n - 0.5) < tolerance);
      CHECK(std::abs(y_squares / n - 4) < tolerance);
      CHECK(std::abs(doubles(running_mean)[c] - (0.9 * 1 + 0.1 * sum / n)) < tolerance);
      CHECK(std::abs(doubles(running_variance)[c] - (0.9 * 4 + 0.1 * squares / (n - 1))) < tolerance);
    }
  }
}

TEST_CASE("batch norm: channels that do not fit are an error with both shapes") {
  const auto zeros = [](const Shape& shape) { return Variable(Tensor::zeros(shape, DType::f32)); };
  const Tensor three = Tensor::zeros({3}, DType::f32);
  CHECK_THROWS_WITH_AS(batch_norm_eval(zeros({2, 4}), zeros({3}), zeros({3}), 1e-5, three, three),
                       "batch norm: input [2, 4] does not end in the [3] channels of its parameters", Error);
}
