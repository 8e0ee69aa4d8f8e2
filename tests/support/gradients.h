#pragma once

#include <doctest/doctest.h>

#include "core/autograd/gradient_check.h"
#include "core/kernels/call.h"
#include "tests/support/check_data.h"

namespace apotnet::test {

/// Checks backward() of `function` against central differences of `surrogate`.
inline void expect_gradients(const CheckedFunction& function, const CheckedFunction& surrogate,
                             const std::vector<Tensor>& inputs, const GradientCheckSettings& settings = {}) {
  for (const Tensor& input : inputs) check_data(input);
  const GradientCheckResult result = check_gradients(function, surrogate, inputs, settings);
  INFO(result.where);
  CHECK(result.largest_error <= settings.tolerance);
  CHECK(result.passed);
}

inline void expect_gradients(const CheckedFunction& function, const std::vector<Tensor>& inputs,
                             const GradientCheckSettings& settings = {}) {
  expect_gradients(function, function, inputs, settings);
}

/// The floats code * step of a quantized variable; the gradient passes unchanged.
inline Variable values_of(const Variable& quantized) {
  Tensor values(quantized.shape(), quantized.quantized().step.dtype());
  call("dequantize", &QuantizeKernels::dequantize, quantized.quantized(), values);
  return Variable::record(values, {quantized}, [](const Tensor& g, Gradients& gradients) { gradients.add(0, g); });
}

/// The fixed codes `q` as a function of `values`, which they are: the gradient passes unchanged.
inline Variable as_codes(const Variable& values, const Quantized& q) {
  return Variable::record(q, {values}, [](const Tensor& g, Gradients& gradients) { gradients.add(0, g); });
}

}  // namespace apotnet::test
