#include "core/kernels/elementwise.h"

#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const std::vector<int64_t> kSizes{1, 7, 8, 33, 32768, 100003};

}  // namespace

TEST_CASE("kernels: elementwise equals the reference bit for bit") {
  for (const int64_t size : kSizes) {
    CAPTURE(size);
    Philox random = random_numbers(111);
    const Tensor a = random_tensor({size}, DType::f32, random), b = random_tensor({size}, DType::f32, random);
    check_data(a);
    const auto run = [&](const ElementwiseKernels& kernels) {
      Tensor relu(a.shape(), DType::f32), gradient(a.shape(), DType::f32), sum(a.shape(), DType::f32),
          scaled(a.shape(), DType::f32), relu6(a.shape(), DType::f32), gradient6(a.shape(), DType::f32),
          accumulated = b.clone(), in_place = a.clone();
      kernels.relu(a, relu);
      kernels.relu_backward(b, relu, gradient);
      Tensor wide(a.shape(), DType::f32);
      kernels.scale(a, 5, wide);
      kernels.relu6(wide, relu6);
      kernels.relu6_backward(b, relu6, gradient6);
      kernels.add(a, b, sum);
      kernels.accumulate(a, accumulated);
      kernels.scale(a, 0.1, scaled);
      kernels.accumulate(in_place, in_place);
      return std::vector<Tensor>{relu, gradient, relu6, gradient6, sum, accumulated, scaled, in_place};
    };
    const std::vector<Tensor> plain = run(*reference_kernels().elementwise);
    for (const Kernels* kernels : fast_backends()) {
      const auto fast = same_for_all_thread_counts([&] { return run(*kernels->elementwise); });
      for (size_t i = 0; i < fast.size(); ++i) CHECK(same_bits(fast[i], plain[i]));
    }
  }
}

TEST_CASE("kernels: sgd equals the reference bit for bit over several steps") {
  for (const int64_t size : kSizes) {
    CAPTURE(size);
    const auto run = [&](const UpdateKernels& kernels) {
      Philox random = random_numbers(112);
      Tensor parameter = random_tensor({size}, DType::f32, random), velocity = Tensor::zeros({size}, DType::f32);
      for (int step = 0; step < 3; ++step)
        kernels.sgd(random_tensor({size}, DType::f32, random), {0.04, 0.9, 1e-4}, parameter, velocity);
      return std::vector<Tensor>{parameter, velocity};
    };
    const std::vector<Tensor> plain = run(*reference_kernels().update);
    check_data(plain[1]);
    for (const Kernels* kernels : fast_backends()) {
      const auto fast = same_for_all_thread_counts([&] { return run(*kernels->update); });
      for (size_t i = 0; i < fast.size(); ++i) CHECK(same_bits(fast[i], plain[i]));
    }
  }
}

TEST_CASE("kernels: sgd is the rule of the paper's code: decay in the gradient, no dampening, no Nesterov") {
  Tensor p = Tensor::full({1}, DType::f64, 2), v = Tensor::full({1}, DType::f64, 10);
  reference_kernels().update->sgd(Tensor::full({1}, DType::f64, 3), {0.1, 0.9, 0.5}, p, v);
  CHECK(v.item() == doctest::Approx(0.9 * 10 + 3 + 0.5 * 2));
  CHECK(p.item() == doctest::Approx(2 - 0.1 * 13));
}

TEST_CASE("kernels: pooling, linear and loss equal the reference up to rounding") {
  Philox random = random_numbers(113);
  const Tensor x = random_tensor({3, 9, 7, 5}, DType::f32, random), labels = Tensor::from<int32_t>({4}, {1, 0, 5, 2});
  const PoolGeometry geometry{3, 2, 1};
  const Shape y{3, 5, 4, 5};
  const Tensor gy = random_tensor(y, DType::f32, random), in = random_tensor({4, 33}, DType::f32, random),
               w = random_tensor({6, 33}, DType::f32, random), b = random_tensor({6}, DType::f32, random),
               g = random_tensor({4, 6}, DType::f32, random), one = Tensor::scalar(1, DType::f32);
  const auto run = [&](const Kernels& kernels) {
    const auto like = [](const Shape& shape) { return Tensor(shape, DType::f32); };
    Tensor average = like(y), average_gx = like(x.shape()), maximum = like(y), position(y, DType::s32),
           maximum_gx = like(x.shape()), logits = like(g.shape()), gin = like(in.shape()), gw = like(w.shape()),
           gb = like(b.shape()), loss = like({}), probabilities = like(g.shape()), glogits = like(g.shape());
    kernels.pool->average_pool(x, geometry, average);
    kernels.pool->average_pool_backward(gy, geometry, average_gx);
    kernels.pool->max_pool(x, geometry, maximum, position);
    kernels.pool->max_pool_backward(gy, position, geometry, maximum_gx);
    kernels.linear->linear(in, w, b, logits);
    kernels.linear->linear_backward(g, in, w, gin, gw, gb);
    kernels.loss->cross_entropy(logits, labels, 0.1, loss, probabilities);
    kernels.loss->cross_entropy_backward(one, probabilities, labels, 0.1, glogits);
    return std::vector<Tensor>{average, average_gx, maximum, position, maximum_gx,    logits,
                               gin,     gw,         gb,      loss,     probabilities, glogits};
  };
  const std::vector<Tensor> plain = run(reference_kernels());
  for (const Kernels* kernels : fast_backends()) {
    const auto fast = same_for_all_thread_counts([&] { return run(*kernels); });
    for (size_t i = 0; i < fast.size(); ++i) CHECK(relative_difference(fast[i], plain[i]) < 2e-6);
  }
}
