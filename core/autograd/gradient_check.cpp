#include "core/autograd/gradient_check.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/philox.h"

namespace apotnet {
namespace {

Tensor random_weights(const Shape& shape) {
  Tensor weights(shape, DType::f64);
  Philox random(17, RandomStream::test);
  for (double& weight : weights.data<double>()) weight = random.normal();
  return weights;
}

// sum of output * weights, recorded so that its backward hands the weights to the output.
Variable weighted_sum(const Variable& output) {
  const Tensor weights = random_weights(output.shape());
  double sum = 0;
  for (size_t i = 0; i < weights.data<double>().size(); ++i)
    sum += weights.data<double>()[i] * output.value().data<double>()[i];
  return Variable::record(Tensor::scalar(sum, DType::f64), {output},
                          [weights](const Tensor&, Gradients& gradients) { gradients.add(0, weights); });
}

double evaluate(const CheckedFunction& function, const std::vector<Tensor>& inputs) {
  const NoGrad no_grad;
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) variables.emplace_back(input);
  return weighted_sum(function(variables)).value().item();
}

}  // namespace

GradientCheckResult check_gradients(const CheckedFunction& function, const CheckedFunction& surrogate,
                                    const std::vector<Tensor>& inputs, const GradientCheckSettings& settings) {
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) {
    require(input.dtype() == DType::f64, "gradients are checked in float64");
    variables.emplace_back(input.clone(), true);
  }
  weighted_sum(function(variables)).backward();

  GradientCheckResult result;
  std::vector<Tensor> moved;
  for (const Tensor& input : inputs) moved.push_back(input.clone());
  for (size_t which = 0; which < inputs.size(); ++which) {
    if (!settings.checked.empty() && !settings.checked[which]) continue;
    const auto values = moved[which].data<double>();
    std::vector<double> numeric(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const double value = values[i];
      values[i] = value + settings.step;
      const double above = evaluate(surrogate, moved);
      values[i] = value - settings.step;
      const double below = evaluate(surrogate, moved);
      values[i] = value;
      numeric[i] = (above - below) / (2 * settings.step);
    }
    double largest = 1;
    for (const double gradient : numeric) largest = std::max(largest, std::abs(gradient));
    const Tensor& grad = variables[which].grad();
    for (size_t i = 0; i < values.size(); ++i) {
      const double analytic = grad.defined() ? grad.data<double>()[i] : 0;
      const double error = std::abs(analytic - numeric[i]) / largest;
      if (error > result.largest_error || !std::isfinite(error)) {
        result.largest_error = error;
        result.where =
            text("input ", which, " element ", i, ": backward() says ", analytic, ", differences say ", numeric[i]);
      }
    }
  }
  result.passed = result.largest_error <= settings.tolerance;
  return result;
}

}  // namespace apotnet
