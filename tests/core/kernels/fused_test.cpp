#include "core/kernels/fused.h"

#include "core/kernels/call.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Channels above and below the width of the channel loops, several chunks with a smaller last one, odd sizes.
const std::vector<Shape> kShapes{{2, 5, 7, 3}, {3, 3, 5, 1}, {7, 130}, {9, 16}, {5, 31, 33, 17}, {9, 32, 32, 16}};

struct Problem {
  Tensor x, g, shortcut, alpha;
  BatchNormTerms norm;
};

Problem problem_of(const Shape& shape, bool constant_statistics, Philox& random) {
  const Shape channels{shape[shape.rank() - 1]};
  Problem problem;
  problem.x = random_tensor(shape, DType::f32, random, 2, 0.7);
  problem.g = random_tensor(shape, DType::f32, random);
  problem.shortcut = random_tensor(shape, DType::f32, random);
  problem.alpha = Tensor::scalar(1.37, DType::f32);
  problem.norm.mean = Tensor(channels, DType::f32);
  problem.norm.variance = Tensor(channels, DType::f32);
  reference_kernels().norm->batch_statistics(problem.x, problem.norm.mean, problem.norm.variance);
  problem.norm.gamma = random_tensor(channels, DType::f32, random, 0.5, 1);
  problem.norm.beta = random_tensor(channels, DType::f32, random, 0.5, 0.3);
  problem.norm.constant_statistics = constant_statistics;
  check_data(problem.x);
  return problem;
}

Tensor like(const Tensor& x) { return Tensor(x.shape(), x.dtype()); }

// Outputs of every forward line that must have the composition's bits.
std::vector<Tensor> forward(const Kernels& kernels, const Problem& p, const LevelSet& levels) {
  Tensor relu = like(p.x), sum = like(p.x);
  Quantized q = Quantized::like(p.x, levels, false);
  kernels.fused->norm_relu(p.x, p.norm, relu);
  kernels.fused->norm_add_relu(p.x, p.norm, p.shortcut, sum);
  kernels.fused->norm_relu_quantize(p.x, p.norm, p.alpha, q);
  return {relu, sum, q.codes, q.step};
}

// Gradients of every backward line; `outputs` are those of forward().
std::vector<Tensor> backward(const Kernels& kernels, const Problem& p, const LevelSet& levels,
                             const std::vector<Tensor>& outputs) {
  std::vector<Tensor> results;
  const auto vector = [&] { return like(p.norm.gamma); };
  Tensor g = p.g.clone(), ggamma = vector(), gbeta = vector();
  kernels.fused->norm_relu_backward(p.x, p.norm, g, ggamma, gbeta);
  results.insert(results.end(), {g, ggamma, gbeta});

  Tensor shortcut_g = p.g.clone(), gx = like(p.x), sum_ggamma = vector(), sum_gbeta = vector();
  kernels.fused->norm_add_relu_backward(p.x, outputs[1], p.norm, shortcut_g, gx, sum_ggamma, sum_gbeta);
  results.insert(results.end(), {shortcut_g, gx, sum_ggamma, sum_gbeta});

  Tensor codes_g = p.g.clone(), codes_ggamma = vector(), codes_gbeta = vector(), galpha = like(p.alpha);
  kernels.fused->norm_relu_quantize_backward(p.x, p.norm, p.alpha, {outputs[2], outputs[3], &levels}, codes_g,
                                             codes_ggamma, codes_gbeta, galpha);
  results.insert(results.end(), {codes_g, codes_ggamma, codes_gbeta, galpha});
  return results;
}

double sum_of_magnitudes(const Tensor& g) {
  double sum = 0;
  for (const double value : doubles(g)) sum += std::abs(value);
  return sum;
}

}  // namespace

TEST_CASE("kernels: fused lines have the bits of the lines they are made of, and their gradients up to rounding") {
  for (const Shape& shape : kShapes)
    for (const bool constant_statistics : {false, true})
      for (const auto& [method, bits] : {std::pair{LevelMethod::apot, 4},
                                         {LevelMethod::apot, 2},
                                         {LevelMethod::uniform, 8},
                                         {LevelMethod::apot, 6}}) {
        INFO(text(shape));
        CAPTURE(bits);
        CAPTURE(constant_statistics);
        Philox random = random_numbers(111);
        const Problem p = problem_of(shape, constant_statistics, random);
        const LevelSet& levels = LevelSet::for_activations(method, bits);
        const std::vector<Tensor> plain = forward(reference_kernels(), p, levels);
        const std::vector<Tensor> plain_gradients = backward(reference_kernels(), p, levels, plain);
        for (const Kernels* kernels : fast_backends()) {
          const auto fast = same_for_all_thread_counts([&] { return forward(*kernels, p, levels); });
          for (size_t i = 0; i < fast.size(); ++i) {
            CAPTURE(i);
            CHECK(same_bits(fast[i], plain[i]));
          }
          const auto gradients = same_for_all_thread_counts([&] { return backward(*kernels, p, levels, plain); });
          for (size_t i = 0; i + 1 < gradients.size(); ++i) {
            CAPTURE(i);
            CHECK(relative_difference(gradients[i], plain_gradients[i]) < 2e-6);
          }
          CHECK(same_bits(gradients[3], plain_gradients[3]));  // the shortcut's is only masked
          CHECK(std::abs(gradients.back().item() - plain_gradients.back().item()) <= 1e-7 * sum_of_magnitudes(p.g));
        }
      }
}

TEST_CASE("kernels: fused quantization meets every tie, level and clip as the lines one by one") {
  // A batch norm that changes nothing, so that x is what is quantized.
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 4);
  const float alpha = 1.37f;
  std::vector<float> values{0.0f, -0.0f, -alpha, 2 * alpha, 1e30f, -1e30f, 1e-30f, alpha};
  for (int64_t m = 0; m <= 2 * levels.k(); ++m) {
    const float tie = static_cast<float>(m) / static_cast<float>(2 * levels.k()) * alpha;
    values.insert(values.end(), {tie, std::nextafter(tie, 1e9f), std::nextafter(tie, -1e9f)});
  }
  Philox random = random_numbers(112);
  const auto size = static_cast<int64_t>(values.size());
  Problem p;
  p.x = Tensor::from<float>({size, 1}, values);
  p.g = random_tensor({size, 1}, DType::f32, random);
  p.shortcut = random_tensor({size, 1}, DType::f32, random);
  p.alpha = Tensor::scalar(alpha, DType::f32);
  p.norm = {Tensor::zeros({1}, DType::f32),
            Tensor::full({1}, DType::f32, 1),
            Tensor::full({1}, DType::f32, 1),
            Tensor::zeros({1}, DType::f32),
            0,
            true};
  const std::vector<Tensor> plain = forward(reference_kernels(), p, levels);
  check_all_levels({plain[2], plain[3], &levels}, false);
  for (const Kernels* kernels : fast_backends()) {
    const std::vector<Tensor> fast = forward(*kernels, p, levels);
    for (size_t i = 0; i < fast.size(); ++i) CHECK(same_bits(fast[i], plain[i]));
    // With constant statistics x's gradient is the masked one: masks must agree on every value.
    const std::vector<Tensor> a = backward(*kernels, p, levels, plain),
                              b = backward(reference_kernels(), p, levels, plain);
    for (const size_t i : {0, 7}) CHECK(doubles(a[i]) == doubles(b[i]));
  }
}

TEST_CASE("kernels: the activation quantizer's gradient adds to one that is there") {
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 4);
  Philox random = random_numbers(113);
  const Tensor x = random_tensor({3, 777}, DType::f32, random), g = random_tensor({3, 777}, DType::f32, random),
               former = random_tensor({3, 777}, DType::f32, random), alpha = Tensor::scalar(0.9, DType::f32);
  std::vector<const Kernels*> all = fast_backends();
  all.push_back(&reference_kernels());
  for (const Kernels* kernels : all)
    for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet}) {
      Quantized q = Quantized::like(x, levels, false);
      Tensor alone = like(x), sum = former.clone(), expected = like(x), galpha({}, DType::f32), same({}, DType::f32);
      kernels->quantize->quantize_activation(x, alpha, q);
      kernels->quantize->quantize_activation_backward(g, x, alpha, q, variant, false, alone, galpha);
      kernels->quantize->quantize_activation_backward(g, x, alpha, q, variant, true, sum, same);
      kernels->elementwise->add(former, alone, expected);
      CHECK(same_bits(sum, expected));
      CHECK(same_bits(galpha, same));
    }
}

TEST_CASE("kernels: the checked back end follows a gradient that is changed in place") {
  Philox random = random_numbers(114);
  const Problem p = problem_of({4, 9, 16}, false, random);
  const BackendScope scope(Backend::checked);
  Tensor g = p.g.clone(), ggamma = like(p.norm.gamma), gbeta = like(p.norm.gamma);
  CHECK_NOTHROW(call("norm_relu_backward", &FusedKernels::norm_relu_backward, p.x, p.norm, g, ggamma, gbeta));
  CHECK_FALSE(same_bits(g, p.g));
}
