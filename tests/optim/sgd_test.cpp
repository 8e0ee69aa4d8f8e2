#include "optim/sgd.h"

#include <doctest/doctest.h>

#include "optim/schedule.h"

using namespace apotnet;

namespace {

// Gives a leaf the gradient `g` the way a backward pass does.
void set_gradient(const Variable& parameter, double g) {
  Variable::record(Tensor::scalar(0, DType::f64), {parameter}, [=](const Tensor&, Gradients& gradients) {
    gradients.add(0, Tensor::full(parameter.shape(), DType::f64, g));
  }).backward();
}

}  // namespace

TEST_CASE("sgd follows PyTorch's recurrence with momentum and weight decay in every group") {
  const Variable w(Tensor::full({3}, DType::f64, 2.0), true), alpha(Tensor::full({}, DType::f64, 5.0), true);
  Sgd sgd({{"rest", {{"w", w}}, 0.1, 0.01}, {"alpha", {{"alpha", alpha}}, 0.5, 0}}, 0.9);
  double p = 2, v = 0, q = 5, u = 0;
  for (int step = 1; step <= 5; ++step) {
    const double factor = step > 3 ? 0.1 : 1;
    set_gradient(w, 0.3 * step);
    set_gradient(alpha, -0.2 * step);
    sgd.step(factor);
    sgd.clear_gradients();
    v = 0.9 * v + (0.3 * step + 0.01 * p);
    p -= 0.1 * factor * v;
    u = 0.9 * u - 0.2 * step;
    q -= 0.5 * factor * u;
    for (const double value : w.value().data<double>()) CHECK(value == doctest::Approx(p).epsilon(1e-14));
    CHECK(alpha.value().item() == doctest::Approx(q).epsilon(1e-14));
  }
  CHECK(sgd.state()[0].name == "w");
  CHECK(sgd.state()[0].momentum.data<double>()[2] == doctest::Approx(v).epsilon(1e-14));
}

TEST_CASE("sgd leaves a parameter without a gradient alone") {
  const Variable w(Tensor::full({2}, DType::f64, 1.0), true);
  Sgd sgd({{"rest", {{"w", w}}, 0.1, 0.5}}, 0.9);
  sgd.step(1);
  CHECK(w.value().data<double>()[0] == 1.0);
}

TEST_CASE("milestones multiply by gamma from their epoch on") {
  const Schedule schedule{ScheduleKind::milestones, 300, {150, 225}, 0.1, 0};
  CHECK(schedule.factor(149, 390, 391) == 1);
  CHECK(schedule.factor(150, 0, 391) == doctest::Approx(0.1));
  CHECK(schedule.factor(299, 5, 391) == doctest::Approx(0.01));
}

TEST_CASE("the cosine goes from 1 over 1/2 to 0") {
  const Schedule schedule{ScheduleKind::cosine, 10, {}, 0.1, 0};
  CHECK(schedule.factor(0, 0, 100) == 1);
  CHECK(schedule.factor(5, 0, 100) == doctest::Approx(0.5));
  CHECK(schedule.factor(9, 99, 100) < 1e-4);
}

TEST_CASE("the warm-up rises linearly to the schedule and never starts at zero") {
  const Schedule schedule{ScheduleKind::constant, 10, {}, 0.1, 2};
  CHECK(schedule.factor(0, 0, 10) == doctest::Approx(1.0 / 20));
  CHECK(schedule.factor(1, 0, 10) == doctest::Approx(11.0 / 20));
  CHECK(schedule.factor(1, 9, 10) == doctest::Approx(1));
  CHECK(schedule.factor(2, 0, 10) == 1);
  CHECK_THROWS(parse_schedule_kind("step"));
}

TEST_CASE("sgd adds up the squares of a gradient where asked, without weight decay or momentum") {
  const Variable w(Tensor::full({3}, DType::f64, 2.0), true), alpha(Tensor::full({}, DType::f64, 5.0), true);
  Sgd sgd({{"rest", {{"w", w}}, 0.1, 0.01}, {"alpha", {{"alpha", alpha}}, 0.5, 0.2}}, 0.9);
  const Tensor squares = Tensor::zeros({}, DType::f64);
  sgd.add_squares_to(alpha, squares);
  for (const double g : {0.5, -2.0}) {
    set_gradient(w, 7);
    set_gradient(alpha, g);
    sgd.step(1);
    sgd.clear_gradients();
  }
  CHECK(squares.item() == doctest::Approx(0.25 + 4).epsilon(1e-14));
}
