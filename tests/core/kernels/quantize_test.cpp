#include "core/kernels/quantize.h"

#include <limits>

#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::vector<const LevelSet*> level_sets(bool for_weights) {
  std::vector<const LevelSet*> sets;
  for (const auto method : {LevelMethod::apot, LevelMethod::pot, LevelMethod::uniform})
    for (int bits = 2; bits <= (method == LevelMethod::pot ? 5 : 8); ++bits)
      sets.push_back(for_weights ? &LevelSet::for_weights(method, bits) : &LevelSet::for_activations(method, bits));
  return sets;
}

// Every midpoint and level times alpha, their neighbours in float32, beyond the clip on both sides, and normal values;
// `size` of them in all.
Tensor hard_values(const LevelSet& levels, float alpha, int64_t size, bool both_signs, Philox& random) {
  std::vector<float> values{0.0f, -0.0f, alpha, -alpha, 2 * alpha, -3 * alpha, 1e30f, -1e30f, 1e-30f};
  const int64_t k = levels.k();
  for (int64_t m = 0; m <= 2 * k && k <= 4096; ++m) {
    const float tie = static_cast<float>(m) / static_cast<float>(2 * k) * alpha;
    for (const float value : {tie, std::nextafter(tie, 1e9f), std::nextafter(tie, -1e9f)}) {
      values.push_back(value);
      if (both_signs) values.push_back(-value);
    }
  }
  while (static_cast<int64_t>(values.size()) < size)
    values.push_back(static_cast<float>(alpha * 0.7 * random.normal() * (random.below(2) ? 1 : 0.05)));
  return Tensor::from<float>({static_cast<int64_t>(values.size())}, values);
}

// The largest |difference| of alpha's gradient from `plain` that another order of summation and two
// roundings of the result may show.
double alpha_tolerance(const Tensor& g, const Tensor& plain) {
  double sum = 0;
  for (const double value : doubles(g)) sum += std::abs(value);
  return 1e-7 * sum + 2.4e-7 * std::abs(plain.item());
}

void check_quantizer(bool weights, const LevelSet& levels, QuantizerVariant variant, int64_t size) {
  CAPTURE(name_of(levels.method()));
  CAPTURE(levels.magnitude_bits());
  Philox random = random_numbers(101);
  const float threshold = 1.37f;
  const Tensor x = hard_values(levels, threshold, size, weights, random),
               g = random_tensor(x.shape(), DType::f32, random), alpha = Tensor::scalar(threshold, DType::f32);
  const auto run = [&](const QuantizeKernels& kernels) {
    Quantized q = Quantized::like(x, levels, weights);
    Tensor gx(x.shape(), DType::f32), galpha({}, DType::f32), values(x.shape(), DType::f32);
    if (weights) {
      kernels.quantize_weight(x, alpha, q);
      kernels.quantize_weight_backward(g, x, alpha, q, variant, gx, galpha);
    } else {
      kernels.quantize_activation(x, alpha, q);
      kernels.quantize_activation_backward(g, x, alpha, q, variant, false, gx, galpha);
    }
    kernels.dequantize(q, values);
    if (levels.k() <= 4096) check_all_levels(q, weights);
    return std::vector<Tensor>{q.codes, q.step, values, gx, galpha};
  };
  const std::vector<Tensor> plain = run(*reference_kernels().quantize);
  for (const Kernels* kernels : fast_backends()) {
    const auto fast = same_for_all_thread_counts([&] { return run(*kernels->quantize); });
    for (size_t i = 0; i < 4; ++i) {
      CAPTURE(i);
      CHECK(same_bits(fast[i], plain[i]));
    }
    CHECK(std::abs(fast[4].item() - plain[4].item()) <= alpha_tolerance(g, plain[4]));
  }
}

}  // namespace

TEST_CASE("kernels: quantize_weight gives the reference's codes exactly") {
  for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet})
    for (const LevelSet* levels : level_sets(true)) check_quantizer(true, *levels, variant, 2304);
}

TEST_CASE("kernels: quantize_activation gives the reference's codes exactly") {
  for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet})
    for (const LevelSet* levels : level_sets(false))
      for (const int64_t size : {1, 777, 70001}) check_quantizer(false, *levels, variant, size);
}

TEST_CASE("kernels: a value that is not a number takes level 0 and shows in alpha's gradient") {
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 4);
  const Tensor x = Tensor::from<float>({3}, {0.5f, std::numeric_limits<float>::quiet_NaN(), 0.25f}),
               alpha = Tensor::scalar(1, DType::f32), g = Tensor::full({3}, DType::f32, 2);
  std::vector<const Kernels*> all = fast_backends();
  all.push_back(&reference_kernels());
  for (const Kernels* kernels : all)
    for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet}) {
      CAPTURE(kernels->name);
      Quantized q = Quantized::like(x, levels, false);
      Tensor gx({3}, DType::f32), galpha({}, DType::f32);
      kernels->quantize->quantize_activation(x, alpha, q);
      kernels->quantize->quantize_activation_backward(g, x, alpha, q, variant, false, gx, galpha);
      CHECK(doubles(q.codes) == std::vector<double>{24, 0, 12});
      CHECK(doubles(gx) == std::vector<double>{2, 2, 2});
      CHECK(std::isnan(galpha.item()));
    }
}

TEST_CASE("kernels: round_to_8bit equals the reference") {
  Philox random = random_numbers(102);
  const Tensor w = random_tensor({16, 3, 3, 3}, DType::f32, random);
  for (const auto rule : {FirstLastRule::apot_compat, FirstLastRule::absmax8})
    for (const Kernels* kernels : fast_backends()) {
      Tensor out(w.shape(), DType::f32), largest({}, DType::f32), plain(w.shape(), DType::f32), m({}, DType::f32);
      kernels->quantize->round_to_8bit(w, rule, out, largest);
      reference_kernels().quantize->round_to_8bit(w, rule, plain, m);
      CHECK(same_bits(out, plain));
      CHECK(same_bits(largest, m));
    }
}
