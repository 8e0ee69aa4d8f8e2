#pragma once

#include <bit>
#include <vector>

#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "tests/emulation/block.h"
#include "tests/support/backends.h"

// Values between two convolutions and their gradients, on the host, for the tests of the fused backward kernels.

namespace apotnet::test {

/// The nearest bf16, ties to even.
inline BFloat16 rounded(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
inline Tensor rounded(const Tensor& x) {
  Tensor result(x.shape(), DType::bf16);
  for (size_t i = 0; i < x.data<float>().size(); ++i) result.data<BFloat16>()[i] = rounded(x.data<float>()[i]);
  return result;
}
inline Tensor as_floats(const Tensor& x) {
  if (x.dtype() == DType::f32) return x;
  Tensor result(x.shape(), DType::f32);
  for (size_t i = 0; i < x.data<BFloat16>().size(); ++i)
    result.data<float>()[i] = std::bit_cast<float>(uint32_t{x.data<BFloat16>()[i].bits} << 16);
  return result;
}
inline Tensor as_type(const Tensor& x, DType dtype) { return dtype == DType::bf16 ? rounded(x) : x; }

inline Tensor to_device(const Tensor& x) { return x.defined() ? x.on(cuda::kCuda) : x; }
inline Tensor device_tensor(const Shape& shape, DType dtype) { return Tensor(shape, dtype, cuda::kCuda); }

/// An operand on both sides: `raw` is the number before its batch norm.
struct TestOperand {
  Tensor raw;
  std::optional<BatchNormTerms> norm = {};
  bool relu = false;
  cuda::Operand device;

  Tensor finished() const {
    Tensor y = raw.clone();
    const Kernels& kernels = reference_kernels();
    if (norm) kernels.norm->batch_norm(raw, norm->mean, norm->variance, norm->gamma, norm->beta, norm->epsilon, y);
    if (relu) kernels.elementwise->relu(y.clone(), y);
    return y;
  }
};

struct OperandKind {
  bool sums = false, norm = false, relu = false, wide = false, constant_statistics = false;
};

/// Sums around 0 of a few hundred; where `wide` some that pass 16 bits.
inline Tensor random_sums(const Shape& shape, bool wide, Philox& random) {
  Tensor sums(shape, DType::s32);
  for (int32_t& sum : sums.data<int32_t>()) {
    sum = static_cast<int32_t>(300 * random.normal());
    if (wide && random.below(20) == 0) {
      const int32_t edges[] = {32767, 32768, -32767, -32768, -32769, 70000, -50000};
      sum = edges[random.below(7)];
    }
  }
  return sums;
}

inline cuda::Sums device_sums(const Tensor& sums, float step_a, float step_b) {
  Tensor narrow(sums.shape(), DType::s16), wide = Tensor::full(sums.shape(), DType::s32, 123456);
  for (size_t i = 0; i < sums.data<int32_t>().size(); ++i) {
    const int32_t sum = sums.data<int32_t>()[i];
    const bool fits = sum > cuda::kWideSum && sum <= 32767;
    narrow.data<int16_t>()[i] = fits ? static_cast<int16_t>(sum) : cuda::kWideSum;
    if (!fits) wide.data<int32_t>()[i] = sum;
  }
  return {to_device(narrow), to_device(wide), to_device(Tensor::scalar(step_a, DType::f32)),
          to_device(Tensor::scalar(step_b, DType::f32))};
}

inline TestOperand random_operand(const Shape& shape, const OperandKind& kind, Philox& random) {
  TestOperand operand;
  operand.relu = operand.device.relu = kind.relu;
  if (kind.sums) {
    const float step_a = 0.0431f, step_b = 0.0729f;
    const Tensor sums = random_sums(shape, kind.wide, random);
    operand.raw = Tensor(shape, DType::f32);
    for (size_t i = 0; i < sums.data<int32_t>().size(); ++i)
      operand.raw.data<float>()[i] = static_cast<float>(sums.data<int32_t>()[i]) * (step_a * step_b);
    operand.device.sums = device_sums(sums, step_a, step_b);
  } else {
    operand.raw = random_tensor(shape, DType::f32, random, 1, 0.3);
    operand.device.values = to_device(operand.raw);
  }
  if (kind.norm) {
    const Shape channels{shape[shape.rank() - 1]};
    BatchNormTerms norm;
    norm.mean = Tensor(channels, DType::f32), norm.variance = Tensor(channels, DType::f32);
    reference_kernels().norm->batch_statistics(operand.raw, norm.mean, norm.variance);
    norm.gamma = random_tensor(channels, DType::f32, random, 0.4, 1);
    norm.beta = random_tensor(channels, DType::f32, random, 0.4, 0.3);
    norm.constant_statistics = kind.constant_statistics;
    operand.norm = norm;
    operand.device.norm = {to_device(norm.mean), to_device(norm.variance), to_device(norm.gamma), to_device(norm.beta),
                           norm.epsilon,         norm.constant_statistics};
  }
  return operand;
}

/// Which ValueGradient is tested.
struct ValueCase {
  std::string name;
  OperandKind a;
  std::optional<OperandKind> b = {};
  bool relu = true, quantized = true, masks = true;
  std::optional<DType> other = {};
  bool in_place = false;      // `out` is the memory of `other`
  bool stored_value = false;  // the device is given the value itself; the batch norms have operands of their own
  int activation_bits = 4;
};

/// A ValueGradient on both sides.
struct ValueProblem {
  ValueCase kind;
  Shape shape;
  std::vector<TestOperand> operands;
  Tensor value, alpha, other;  // host
  const LevelSet* levels;

  ValueProblem(const ValueCase& value_case, const Shape& value_shape, Philox& random)
      : kind(value_case), shape(value_shape) {
    operands.push_back(random_operand(shape, kind.a, random));
    if (kind.b) operands.push_back(random_operand(shape, *kind.b, random));
    const Kernels& kernels = reference_kernels();
    value = operands[0].finished();
    if (kind.b) kernels.elementwise->add(value.clone(), operands[1].finished(), value);
    if (kind.relu) kernels.elementwise->relu(value.clone(), value);
    alpha = Tensor::scalar(1.37, DType::f32);
    levels = &LevelSet::for_activations(LevelMethod::apot, kind.activation_bits);
    if (kind.other) other = as_type(random_tensor(shape, DType::f32, random), *kind.other);
  }

  cuda::ValueGradient on_device(DType out) const {
    const Shape channels{shape[shape.rank() - 1]};
    cuda::ValueGradient gradient;
    gradient.value = {operands[0].device, {}, kind.relu};
    if (kind.b) gradient.value.b = operands[1].device;
    if (kind.stored_value) {
      cuda::Operand stored;
      stored.values = to_device(value);
      gradient.value = {stored, {}, true};
    }
    gradient.quantized = kind.quantized;
    gradient.masks = kind.masks;
    if (kind.quantized) {
      gradient.alpha = to_device(alpha);
      gradient.galpha = device_tensor({}, DType::f32);
      gradient.levels = levels;
    }
    gradient.other = to_device(other);
    gradient.out = kind.in_place ? gradient.other : device_tensor(shape, out);
    for (const TestOperand& operand : operands)
      if (operand.norm)
        gradient.norms.push_back({operand.device, device_tensor(channels, DType::f32),
                                  device_tensor(channels, DType::f32), device_tensor({channels[0], 3}, DType::f32)});
    return gradient;
  }
};

/// What the reference makes of a gradient `g` of what the value became.
struct ExpectedValueGradient {
  Tensor out, galpha;
  double sum_of_alpha_terms = 0;
  std::vector<Tensor> ggamma, gbeta, dx;

  ExpectedValueGradient(const ValueProblem& problem, const Tensor& g) {
    const Kernels& kernels = reference_kernels();
    out = problem.other.defined() ? as_floats(problem.other).clone() : Tensor::zeros(problem.shape, DType::f32);
    if (problem.kind.quantized) {
      Quantized codes = Quantized::like(problem.value, *problem.levels, false);
      kernels.quantize->quantize_activation(problem.value, problem.alpha, codes);
      galpha = Tensor({}, DType::f32);
      kernels.quantize->quantize_activation_backward(g, problem.value, problem.alpha, codes, QuantizerVariant::cifar,
                                                     true, out, galpha);
      for (size_t i = 0; i < g.data<float>().size(); ++i) {
        const double z = double{problem.value.data<float>()[i]} / double{problem.alpha.data<float>()[0]},
                     q = codes.codes.data<uint8_t>()[i] / static_cast<double>(problem.levels->k());
        sum_of_alpha_terms += std::abs(g.data<float>()[i] * (z > 1 ? 1 : q - z));
      }
    } else {
      kernels.elementwise->accumulate(g, out);
    }
    if (problem.kind.masks) kernels.elementwise->relu_backward(out.clone(), problem.value, out);
    for (const TestOperand& operand : problem.operands) {
      if (!operand.norm) continue;
      const BatchNormTerms& norm = *operand.norm;
      for (auto* list : {&ggamma, &gbeta}) list->push_back(Tensor(norm.gamma.shape(), DType::f32));
      dx.push_back(Tensor(problem.shape, DType::f32));
      const auto line =
          norm.constant_statistics ? &NormKernels::batch_norm_eval_backward : &NormKernels::batch_norm_backward;
      (kernels.norm->*line)(out, operand.raw, norm.mean, norm.variance, norm.gamma, norm.epsilon, dx.back(),
                            ggamma.back(), gbeta.back());
    }
  }
};

/// Everything that a ValueGradient wrote, on the host.
inline std::vector<Tensor> written(const cuda::ValueGradient& gradient) {
  std::vector<Tensor> results{gradient.out.on({})};
  if (gradient.quantized) results.push_back(gradient.galpha.on({}));
  for (const cuda::NormGradient& norm : gradient.norms)
    for (const Tensor* tensor : {&norm.ggamma, &norm.gbeta, &norm.coefficients}) results.push_back(tensor->on({}));
  return results;
}

/// Runs `compute` with blocks and threads in several orders; fails the test unless all bits agree.
inline std::vector<Tensor> same_in_every_order(const std::function<std::vector<Tensor>()>& compute,
                                               uint64_t orders = 3) {
  std::vector<Tensor> results;
  for (uint64_t seed = 1; seed <= orders; ++seed) {
    emulation::seed(seed);
    const std::vector<Tensor> now = compute();
    if (results.empty()) results = now;
    for (size_t i = 0; i < now.size(); ++i) {
      CAPTURE(i);
      REQUIRE(same_bits(now[i], results[i]));
    }
  }
  return results;
}

/// Compares sums over many elements with the reference; `actual` as written() has them.
inline void check_sums(const std::vector<Tensor>& actual, const ExpectedValueGradient& expected, double tolerance) {
  size_t next = 1;
  if (expected.galpha.defined())
    CHECK(std::abs(actual[next++].item() - expected.galpha.item()) <= 1e-5 * expected.sum_of_alpha_terms);
  for (size_t n = 0; n < expected.ggamma.size(); ++n, next += 3) {
    CHECK(relative_difference(actual[next], expected.ggamma[n]) < tolerance);
    CHECK(relative_difference(actual[next + 1], expected.gbeta[n]) < tolerance);
  }
  CHECK(next == actual.size());
}

}  // namespace apotnet::test
