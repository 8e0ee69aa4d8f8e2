#include "core/ops/batch_norm.h"

#include "core/base/error.h"
#include "tests/support/backends.h"
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

TEST_CASE("gradient: batch norm by sub-batches, each through its own statistics") {
  for (const Shape& shape : {Shape{5, 3, 2, 3}, Shape{9, 2}, Shape{4, 1, 3, 5}}) {
    INFO(text(shape));
    Philox random = random_numbers(24);
    expect_gradients(
        [](const auto& in) {
          Tensor mean = Tensor::zeros(in[1].shape(), DType::f64), variance = Tensor::full(in[1].shape(), DType::f64, 1);
          return batch_norm_train(in[0], in[1], in[2], 1e-5, 0.1, mean, variance, 3);
        },
        inputs_of(shape, random));
  }
}

namespace {

struct NormRun {
  Tensor y, gx, ggamma, gbeta, mean, variance;
  std::vector<Tensor> all() const { return {y, gx, ggamma, gbeta, mean, variance}; }
};

// Batch norm of a batch, forward and backward, with running statistics that begin at 0.3 and 1.7.
NormRun run_norm(const Tensor& batch, const Tensor& gradient, int64_t ghost_batch) {
  Philox random = random_numbers(25);
  const Shape channels{batch.shape()[batch.shape().rank() - 1]};
  const Variable x(batch.clone(), true), gamma(random_tensor(channels, batch.dtype(), random, 0.5, 1), true),
      beta(random_tensor(channels, batch.dtype(), random), true);
  NormRun run;
  run.mean = Tensor::full(channels, batch.dtype(), 0.3);
  run.variance = Tensor::full(channels, batch.dtype(), 1.7);
  const Variable y = batch_norm_train(x, gamma, beta, 1e-5, 0.1, run.mean, run.variance, ghost_batch);
  Variable end = Variable::record(Tensor::scalar(0, batch.dtype()), {y},
                                  [&](const Tensor&, Gradients& gradients) { gradients.add(0, gradient.clone()); });
  end.backward();
  run.y = y.value();
  run.gx = x.grad();
  run.ggamma = gamma.grad();
  run.gbeta = beta.grad();
  return run;
}

}  // namespace

TEST_CASE(
    "batch norm: a batch cut into sub-batches is the sub-batches one by one, and teaches the first's statistics") {
  struct Row {
    int64_t images, ghost_batch;
    std::vector<int64_t> sizes;
  };
  // 80 images on two devices are 40 and 40; a lone last image joins the sub-batch before it.
  for (const Row& row : {Row{8, 4, {4, 4}}, Row{80, 64, {40, 40}}, Row{7, 4, {4, 3}}, Row{7, 3, {3, 4}},
                         Row{5, 2, {2, 3}}, Row{10, 4, {4, 4, 2}}, Row{3, 2, {3}}}) {
    CAPTURE(row.images);
    CAPTURE(row.ghost_batch);
    Philox random = random_numbers(26);
    const Tensor x = random_tensor({row.images, 3, 5, 7}, DType::f32, random, 1.5, 0.4),
                 g = random_tensor(x.shape(), DType::f32, random);
    for (const Backend backend : {Backend::reference, Backend::cpu, Backend::checked}) {
      const BackendScope scope(backend);
      const NormRun ghost = run_norm(x, g, row.ghost_batch);
      Tensor ggamma = Tensor::zeros({7}, DType::f32), gbeta = Tensor::zeros({7}, DType::f32);
      int64_t first = 0;
      for (const int64_t size : row.sizes) {
        const NormRun part = run_norm(x.part(first, size), g.part(first, size), 0);
        CHECK(same_bits(ghost.y.part(first, size), part.y));
        CHECK(same_bits(ghost.gx.part(first, size), part.gx));
        if (first == 0) {
          CHECK(same_bits(ghost.mean, part.mean));
          CHECK(same_bits(ghost.variance, part.variance));
        }
        for (size_t c = 0; c < 7; ++c) {
          ggamma.data<float>()[c] += part.ggamma.data<float>()[c];
          gbeta.data<float>()[c] += part.gbeta.data<float>()[c];
        }
        first += size;
      }
      CHECK(first == row.images);
      CHECK(same_bits(ghost.ggamma, ggamma));
      CHECK(same_bits(ghost.gbeta, gbeta));
      if (row.sizes.size() > 1) CHECK_FALSE(same_bits(ghost.y, run_norm(x, g, 0).y));
    }
  }
}

TEST_CASE("batch norm: a sub-batch of the whole batch or more changes no bit, any number of threads changes none") {
  Philox random = random_numbers(27);
  const Tensor x = random_tensor({48, 9, 11, 19}, DType::f32, random, 1.5, 0.4),
               g = random_tensor(x.shape(), DType::f32, random);
  const std::vector<Tensor> whole = run_norm(x, g, 0).all();
  for (const int64_t ghost_batch : {48, 49, 1000}) {
    const std::vector<Tensor> same = run_norm(x, g, ghost_batch).all();
    for (size_t i = 0; i < whole.size(); ++i) CHECK(same_bits(same[i], whole[i]));
  }
  same_for_all_thread_counts([&] { return run_norm(x, g, 20).all(); });
}

TEST_CASE("batch norm: channels that do not fit are an error with both shapes") {
  const auto zeros = [](const Shape& shape) { return Variable(Tensor::zeros(shape, DType::f32)); };
  const Tensor three = Tensor::zeros({3}, DType::f32);
  CHECK_THROWS_WITH_AS(batch_norm_eval(zeros({2, 4}), zeros({3}), zeros({3}), 1e-5, three, three),
                       "batch norm: input [2, 4] does not end in the [3] channels of its parameters", Error);
}
