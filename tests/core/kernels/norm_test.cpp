#include "core/kernels/norm.h"

#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// The last two have several chunks of rows, the last chunk smaller.
const std::vector<Shape> kShapes{{2, 5, 7, 3}, {1, 1, 1, 9}, {7, 13}, {3, 3, 5, 1}, {33, 32, 32, 3}, {5, 31, 33, 17}};

}  // namespace

TEST_CASE("kernels: batch norm, every line, equals the reference up to rounding") {
  for (const Shape& shape : kShapes) {
    INFO(text(shape));
    Philox random = random_numbers(91);
    const Shape channels{shape[shape.rank() - 1]};
    const Tensor x = random_tensor(shape, DType::f32, random, 2, 0.7), gy = random_tensor(shape, DType::f32, random),
                 gamma = random_tensor(channels, DType::f32, random, 0.5, 1),
                 beta = random_tensor(channels, DType::f32, random);
    const int64_t count = x.elements() / channels[0];
    check_data(x);
    const auto vector = [&] { return Tensor::full(channels, DType::f32, 0.25); };
    const auto run = [&](const NormKernels& kernels) {
      Tensor mean = vector(), variance = vector(), running_mean = vector(), running_variance = vector();
      Tensor y(shape, DType::f32), gx(shape, DType::f32), eval_gx(shape, DType::f32);
      Tensor ggamma = vector(), gbeta = vector(), eval_ggamma = vector(), eval_gbeta = vector();
      kernels.batch_statistics(x, mean, variance);
      kernels.update_running_statistics(mean, variance, count, 0.1, running_mean, running_variance);
      if (count == 1) variance.fill(0.5);  // else everything but rounding is divided away
      kernels.batch_norm(x, mean, variance, gamma, beta, 1e-5, y);
      kernels.batch_norm_backward(gy, x, mean, variance, gamma, 1e-5, gx, ggamma, gbeta);
      kernels.batch_norm_eval_backward(gy, x, mean, variance, gamma, 1e-5, eval_gx, eval_ggamma, eval_gbeta);
      return std::vector<Tensor>{mean,   variance, running_mean, running_variance, y,         gx,
                                 ggamma, gbeta,    eval_gx,      eval_ggamma,      eval_gbeta};
    };
    const std::vector<Tensor> plain = run(*reference_kernels().norm);
    for (const Kernels* kernels : fast_backends()) {
      const auto fast = same_for_all_thread_counts([&] { return run(*kernels->norm); });
      for (size_t i = 0; i < fast.size(); ++i) {
        CAPTURE(i);
        const bool zero = count == 1 && (i == 5 || i == 6 || i == 1);  // through the statistics of a single row
        if (!zero) CHECK(relative_difference(fast[i], plain[i]) < 2e-6);
      }
    }
  }
}

TEST_CASE("kernels: the batch variance survives a mean far from zero") {
  Philox random = random_numbers(92);
  const Tensor x = random_tensor({8, 16, 16, 5}, DType::f32, random, 0.01, 100);
  for (const Kernels* kernels : fast_backends()) {
    Tensor mean({5}, DType::f32), variance({5}, DType::f32), plain_mean({5}, DType::f32), plain({5}, DType::f32);
    kernels->norm->batch_statistics(x, mean, variance);
    reference_kernels().norm->batch_statistics(x, plain_mean, plain);
    CHECK(relative_difference(variance, plain) < 1e-5);
    CHECK(plain.data<float>()[0] == doctest::Approx(1e-4).epsilon(0.2));
  }
}

TEST_CASE("kernels: weight norm and its backward equal the reference up to rounding") {
  for (const Shape& shape : {Shape{4, 3, 3, 5}, Shape{2, 1, 1, 1}, Shape{64, 3, 3, 64}}) {
    INFO(text(shape));
    Philox random = random_numbers(93);
    const Tensor w = random_tensor(shape, DType::f32, random, 0.05, 0.01), g = random_tensor(shape, DType::f32, random);
    check_data(w);
    const auto run = [&](const NormKernels& kernels) {
      Tensor w_hat(shape, DType::f32), mean({}, DType::f32), std({}, DType::f32), constant(shape, DType::f32),
          through(shape, DType::f32);
      kernels.weight_norm(w, w_hat, mean, std);
      kernels.weight_norm_backward(g, w_hat, std, true, constant);
      kernels.weight_norm_backward(g, w_hat, std, false, through);
      return std::vector<Tensor>{w_hat, mean, std, constant, through};
    };
    const std::vector<Tensor> plain = run(*reference_kernels().norm);
    CHECK_FALSE(same_bits(plain[3], plain[4]));
    for (const Kernels* kernels : fast_backends()) {
      const auto fast = same_for_all_thread_counts([&] { return run(*kernels->norm); });
      for (size_t i = 0; i < fast.size(); ++i) CHECK(relative_difference(fast[i], plain[i]) < 2e-6);
    }
  }
}
