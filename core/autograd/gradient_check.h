#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/autograd/variable.h"

namespace apotnet {

/// A function of several float64 tensors.
using CheckedFunction = std::function<Variable(const std::vector<Variable>& inputs)>;

struct GradientCheckSettings {
  double step = 1e-5;         // of the central difference
  double tolerance = 1e-6;    // largest allowed |analytic - numeric|, relative to max(1, largest |numeric|)
  std::vector<bool> checked;  // which inputs; empty = all
};

struct GradientCheckResult {
  bool passed = false;
  double largest_error = 0;
  std::string where;  // input and element of the largest error, with both values
};

/// Compares the gradients of `function` by backward() with central differences of `surrogate`. The two are the same
/// function except for straight-through operations, whose backward is the derivative of a stated smooth surrogate. The
/// output is weighted by fixed pseudo-random numbers so that no element's gradient can hide behind another's.
GradientCheckResult check_gradients(const CheckedFunction& function, const CheckedFunction& surrogate,
                                    const std::vector<Tensor>& inputs, const GradientCheckSettings& settings = {});

inline GradientCheckResult check_gradients(const CheckedFunction& function, const std::vector<Tensor>& inputs,
                                           const GradientCheckSettings& settings = {}) {
  return check_gradients(function, function, inputs, settings);
}

}  // namespace apotnet
