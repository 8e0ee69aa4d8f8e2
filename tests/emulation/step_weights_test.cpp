// Weights of a step, all at once: normalised, rounded to codes, and the way back; against the reference one by one.
#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "tests/emulation/block.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;
using cuda::kCuda;
using cuda::WeightToQuantize;

namespace {

std::vector<const LevelSet*> small_level_sets() {
  std::vector<const LevelSet*> sets;
  for (const auto method : {LevelMethod::apot, LevelMethod::pot, LevelMethod::uniform})
    for (int bits = 2; bits <= (method == LevelMethod::pot ? 5 : 8); ++bits)
      if (const LevelSet& set = LevelSet::for_weights(method, bits); set.fits_s8()) sets.push_back(&set);
  return sets;
}

// Values with every level, and where they are not normalised every midpoint and its neighbours.
Tensor hard_weight(const Shape& shape, const LevelSet& levels, double alpha, bool normalises, Philox& random) {
  Tensor w = random_tensor(shape, DType::f32, random, normalises ? 0.3 : 0.7 * alpha, normalises ? 0.1 : 0);
  if (normalises) return w;
  const auto values = w.data<float>();
  size_t next = 0;
  for (int64_t m = 0; m <= 2 * levels.k(); ++m) {
    const float tie = static_cast<float>(m) / static_cast<float>(2 * levels.k()) * static_cast<float>(alpha);
    for (const float value : {tie, std::nextafter(tie, 1e9f), std::nextafter(tie, -1e9f)})
      for (const float sign : {1.0f, -1.0f})
        if (next < values.size()) values[next++] = sign * value;
  }
  return w;
}

WeightToQuantize weight_on_device(const Tensor& w, const LevelSet& levels, double alpha, bool normalises) {
  const Tensor there = w.on(kCuda);
  const auto scalar = [] { return Tensor({}, DType::f32, kCuda); };
  return {there,
          normalises ? scalar() : Tensor(),
          normalises ? scalar() : Tensor(),
          Tensor::full({}, DType::f32, alpha, kCuda),
          Quantized::like(there, levels, true),
          normalises};
}

// What the forward pass left of a weight, on the host: w_hat by the device's own mean and deviation.
struct HostWeight {
  Tensor w_hat, std, alpha;
  Quantized out;

  explicit HostWeight(const WeightToQuantize& weight) : alpha(weight.alpha.on({})) {
    w_hat = weight.w.on({}).clone();
    if (weight.normalises) {
      std = weight.std.on({});
      const auto mean = static_cast<float>(weight.mean.on({}).item());
      for (float& value : w_hat.data<float>()) value = (value - mean) / static_cast<float>(std.item());
    }
    out = {weight.out.codes.on({}), weight.out.step.on({}), weight.out.levels};
  }
};

void check_weight(const WeightToQuantize& weight) {
  const HostWeight host(weight);
  if (weight.normalises) {
    Tensor w_hat(weight.w.shape(), DType::f32), mean({}, DType::f32), std({}, DType::f32);
    reference_kernels().norm->weight_norm(weight.w.on({}), w_hat, mean, std);
    CHECK(std::abs(weight.mean.on({}).item() - mean.item()) <= 1e-6 * std.item());
    CHECK(relative_difference(host.std, std) < 1e-6);
  }
  Quantized expected = Quantized::like(host.w_hat, *weight.out.levels, true);
  reference_kernels().quantize->quantize_weight(host.w_hat, host.alpha, expected);
  CHECK(same_bits(host.out.codes, expected.codes));
  CHECK(same_bits(host.out.step, expected.step));
}

bool trouble_of(const WeightToQuantize& weight) {
  cuda_device().take_trouble();
  cuda::launch_quantize_weights({weight});
  return cuda_device().take_trouble();
}

constexpr double kAlpha = 1.37;

// Weights of one and of several blocks, of every kind and level set.
std::vector<WeightToQuantize> some_weights(uint64_t seed) {
  cuda_device();
  Philox random = random_numbers(seed);
  std::vector<WeightToQuantize> weights;
  const std::vector<const LevelSet*> sets = small_level_sets();
  for (size_t i = 0; i < sets.size(); ++i) {
    const Shape shape = i % 3 == 0 ? Shape{48, 3, 3, 16} : i % 3 == 1 ? Shape{16, 3, 3, 16} : Shape{96, 1, 1, 80};
    const bool normalises = i % 2 == 0;
    const Tensor w = hard_weight(shape, *sets[i], kAlpha, normalises, random);
    weights.push_back(weight_on_device(w, *sets[i], kAlpha, normalises));
  }
  return weights;
}

// Ends of weight gradients for weights that are quantized already: both variants, with and without constants.
std::vector<cuda::WeightGradientEnd> some_ends(const std::vector<WeightToQuantize>& weights, uint64_t seed) {
  Philox random = random_numbers(seed);
  std::vector<cuda::WeightGradientEnd> ends;
  for (size_t i = 0; i < weights.size(); ++i) {
    const Shape& w = weights[i].w.shape();
    const Shape slices{static_cast<int64_t>(1 + i % 5), w[0], w[1], w[2], w[3]};
    ends.push_back({random_tensor(slices, DType::f32, random, 3, 0.2).on(kCuda),
                    Tensor::full({}, DType::f32, 0.037, kCuda), weights[i],
                    i / 2 % 2 ? QuantizerVariant::cifar : QuantizerVariant::imagenet, i / 4 % 2 == 0,
                    Tensor(w, DType::f32, kCuda), Tensor({}, DType::f32, kCuda)});
  }
  return ends;
}

// The gradient of the quantized values, in the order of the kernel.
Tensor sum_of_slices(const cuda::WeightGradientEnd& end) {
  const Tensor partial = end.partial.on({});
  Tensor g(end.weight.w.shape(), DType::f32);
  const auto count = static_cast<size_t>(g.elements());
  const auto parts = partial.data<float>();
  for (size_t i = 0; i < count; ++i) {
    float sum = parts[i];
    for (size_t j = i + count; j < parts.size(); j += count) sum += parts[j];
    g.data<float>()[i] = sum * static_cast<float>(end.x_step.on({}).item());
  }
  return g;
}

void check_end(const cuda::WeightGradientEnd& end) {
  const HostWeight weight(end.weight);
  const Tensor g = sum_of_slices(end);
  Tensor through(g.shape(), DType::f32), galpha({}, DType::f32), expected = through.clone();
  reference_kernels().quantize->quantize_weight_backward(g, weight.w_hat, weight.alpha, weight.out, end.variant,
                                                         through, galpha);
  if (end.weight.normalises)
    reference_kernels().norm->weight_norm_backward(through, weight.w_hat, weight.std, end.constant_statistics,
                                                   expected);
  else
    expected = through;
  check_data(expected, 0.3);
  if (end.weight.normalises && !end.constant_statistics)
    CHECK(relative_difference(end.gw.on({}), expected) < 1e-6);
  else
    CHECK(same_bits(end.gw.on({}), expected));
  double terms = 0;
  for (const double value : doubles(g)) terms += std::abs(value);
  CHECK(std::abs(end.galpha.on({}).item() - galpha.item()) <= 1e-7 * terms + 2.4e-7 * std::abs(galpha.item()));
}

}  // namespace

TEST_CASE("cuda: all weights of a step have the reference's codes") {
  const std::vector<WeightToQuantize> weights = some_weights(1101);
  cuda_device().take_trouble();
  const auto nodes = cuda::Context::get().nodes_of([&] { cuda::launch_quantize_weights(weights); });
  CHECK(nodes.size() == 2);
  for (const WeightToQuantize& weight : weights) {
    CAPTURE(weight.out.levels->k());
    check_weight(weight);
    check_all_levels({weight.out.codes.on({}), {}, weight.out.levels}, true);
  }
  CHECK_FALSE(cuda_device().take_trouble());
}

TEST_CASE("cuda: weights that begin anywhere, of any size, and more of them than a launch takes") {
  cuda_device();
  Philox random = random_numbers(1102);
  const LevelSet& levels = LevelSet::for_weights(LevelMethod::apot, 4);
  std::vector<WeightToQuantize> weights;
  for (int64_t i = 0; i < 120; ++i) {
    const Tensor w = random_tensor({3, 1 + i % 3, 1, 7}, DType::f32, random);
    weights.push_back(weight_on_device(w, levels, 1, i % 5 != 0));
    if (i % 7 == 0) weights.back().w = weights.back().w.part(1, 2);
    if (i % 7 == 0) weights.back().out = Quantized::like(weights.back().w, levels, true);
  }
  const auto nodes = cuda::Context::get().nodes_of([&] { cuda::launch_quantize_weights(weights); });
  CHECK(nodes.size() == 3);
  size_t bytes = 0;
  for (const WeightToQuantize& weight : weights) {
    check_weight(weight);
    bytes += weight.w.bytes();
  }
  CHECK(nodes[1].reads + nodes[2].reads == bytes);
  const std::vector<cuda::WeightGradientEnd> ends = some_ends(weights, 1103);
  cuda::launch_finish_weight_gradients(ends);
  for (const auto& end : ends) check_end(end);
}

TEST_CASE("cuda: unusable alphas and weights without deviation raise the flag, whichever weight of a step it is") {
  cuda_device();
  Philox random = random_numbers(1104);
  const LevelSet& levels = LevelSet::for_weights(LevelMethod::apot, 3);
  const Tensor w = random_tensor({16, 3, 3, 16}, DType::f32, random);
  CHECK_FALSE(trouble_of(weight_on_device(w, levels, 1, true)));
  for (const double alpha : {0.0, -1.0, HUGE_VAL, std::nan("")})
    CHECK(trouble_of(weight_on_device(w, levels, alpha, true)));
  const Tensor same = Tensor::full({16, 3, 3, 16}, DType::f32, 0.25);
  CHECK(trouble_of(weight_on_device(same, levels, 1, true)));
  CHECK_FALSE(trouble_of(weight_on_device(same, levels, 1, false)));
}

TEST_CASE("cuda: the ends of all weight gradients of a step are those of the reference") {
  const std::vector<WeightToQuantize> weights = some_weights(1105);
  cuda::launch_quantize_weights(weights);
  for (const uint64_t seed : {1106, 1107}) {
    const std::vector<cuda::WeightGradientEnd> ends = some_ends(weights, seed);
    const auto nodes = cuda::Context::get().nodes_of([&] { cuda::launch_finish_weight_gradients(ends); });
    CHECK(nodes.size() == 2);
    for (const auto& end : ends) {
      CAPTURE(end.weight.out.levels->k());
      check_end(end);
    }
  }
  std::vector<cuda::WeightGradientEnd> constant = some_ends(weights, 1108);
  for (auto& end : constant) end.constant_statistics = true;
  CHECK(cuda::Context::get().nodes_of([&] { cuda::launch_finish_weight_gradients(constant); }).size() == 1);
  for (const auto& end : constant) check_end(end);
}

TEST_CASE("cuda: weights and their gradients have the same bits in whatever order blocks and threads run") {
  const std::vector<WeightToQuantize> weights = some_weights(1109);
  std::vector<Tensor> first;
  for (const uint64_t seed : {5, 6}) {
    emulation::seed(seed);
    cuda::launch_quantize_weights(weights);
    const std::vector<cuda::WeightGradientEnd> ends = some_ends(weights, 1110);
    cuda::launch_finish_weight_gradients(ends);
    std::vector<Tensor> results;
    for (const auto& end : ends)
      for (const Tensor& tensor : {end.weight.out.codes, end.gw, end.galpha}) results.push_back(tensor.on({}));
    for (size_t i = 0; i < first.size(); ++i) CHECK(same_bits(results[i], first[i]));
    first = results;
  }
}
