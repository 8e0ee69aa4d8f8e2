#include "core/autograd/gradient_check.h"

#include "core/ops/elementwise.h"
#include "tests/support/check_data.h"

using namespace apotnet;

namespace {

// y = x^2 with the derivative `slope` * x.
Variable square(const Variable& x, double slope) {
  Tensor y(x.shape(), DType::f64);
  for (size_t i = 0; i < y.data<double>().size(); ++i)
    y.data<double>()[i] = x.value().data<double>()[i] * x.value().data<double>()[i];
  return Variable::record(y, {x}, [=](const Tensor& g, Gradients& gradients) {
    Tensor gx(g.shape(), DType::f64);
    for (size_t i = 0; i < gx.data<double>().size(); ++i)
      gx.data<double>()[i] = slope * x.value().data<double>()[i] * g.data<double>()[i];
    gradients.add(0, gx);
  });
}

const Tensor kPoint = Tensor::from<double>({3}, {0.5, -1.5, 2.0});

}  // namespace

TEST_CASE("gradient check: passes a right derivative and catches a planted wrong one") {
  const auto with = [](double slope) {
    return check_gradients([=](const auto& in) { return square(in[0], slope); }, {kPoint});
  };
  CHECK(with(2).passed);
  CHECK(with(2).largest_error < 1e-9);
  CHECK_FALSE(with(2.0001).passed);
  CHECK_FALSE(with(-2).passed);
  CHECK(with(-2).where.find("input 0 element") == 0);
}

TEST_CASE("gradient check: catches a wrong derivative of one element among many, and a missing one") {
  const auto wrong_once = [](const std::vector<Variable>& in) {
    return Variable::record(in[0].value().clone(), {in[0]}, [](const Tensor& g, Gradients& gradients) {
      Tensor gx = g.clone();
      gx.data<double>()[1] *= 1.001;
      gradients.add(0, gx);
    });
  };
  const GradientCheckResult result = check_gradients(wrong_once, {kPoint});
  CHECK_FALSE(result.passed);
  CHECK(result.where.find("element 1") != std::string::npos);

  const auto forgets_input_1 = [](const std::vector<Variable>& in) {
    return Variable::record(add(in[0], in[1]).value(), {in[0], in[1]},
                            [](const Tensor& g, Gradients& gradients) { gradients.add(0, g); });
  };
  CHECK_FALSE(check_gradients(forgets_input_1, {kPoint, kPoint}).passed);
  CHECK(check_gradients(forgets_input_1, {kPoint, kPoint}, {.checked = {true, false}}).passed);
}

TEST_CASE("gradient check: a NaN in the gradient does not pass") {
  const auto not_a_number = [](const std::vector<Variable>& in) {
    return Variable::record(in[0].value(), {in[0]}, [](const Tensor& g, Gradients& gradients) {
      gradients.add(0, Tensor::full(g.shape(), DType::f64, std::nan("")));
    });
  };
  CHECK_FALSE(check_gradients(not_a_number, {kPoint}).passed);
}

TEST_CASE("gradient check: compares with the stated surrogate, not with the function") {
  const auto rounding = [](const std::vector<Variable>& in) {  // straight through
    Tensor y = in[0].value().clone();
    for (double& value : y.data<double>()) value = std::round(value);
    return Variable::record(y, {in[0]}, [](const Tensor& g, Gradients& gradients) { gradients.add(0, g); });
  };
  CHECK_FALSE(check_gradients(rounding, {Tensor::from<double>({2}, {0.3, 1.2})}).passed);
  CHECK(
      check_gradients(rounding, [](const auto& in) { return in[0]; }, {Tensor::from<double>({2}, {0.3, 1.2})}).passed);
}
