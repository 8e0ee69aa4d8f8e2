#include "core/autograd/variable.h"

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/elementwise.h"
#include "core/ops/linear.h"
#include "tests/support/check_data.h"

using namespace apotnet;

namespace {

Variable parameter(std::vector<float> values) {
  const auto size = static_cast<int64_t>(values.size());
  return Variable(Tensor::from<float>({size}, values), true);
}

// sum of weights * x
Variable dot(const Variable& x, std::vector<float> weights) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) sum += weights[i] * x.value().data<float>()[i];
  const Tensor w = Tensor::from<float>(x.shape(), weights);
  return Variable::record(Tensor::scalar(sum, DType::f32), {x},
                          [w](const Tensor&, Gradients& gradients) { gradients.add(0, w); });
}

std::vector<float> gradient_of(const Variable& x) {
  const auto grad = x.grad().data<float>();
  return {grad.begin(), grad.end()};
}

using Floats = std::vector<float>;

}  // namespace

TEST_CASE("variable: a variable used twice gets the sum of its gradients") {
  for (const Backend backend : {Backend::reference, Backend::cpu}) {
    const BackendScope scope(backend);
    Variable x = parameter({1, -2});
    dot(add(x, x), {3, 5}).backward();
    CHECK(gradient_of(x) == Floats{6, 10});

    // A diamond: x reaches the end over relu, over the shortcut and over their sum once more.
    Variable y = parameter({1, -2});
    const Variable inner = add(relu(y), y);
    dot(add(inner, add(y, y)), {3, 5}).backward();
    CHECK(gradient_of(y) == Floats{3 * 4, 5 * 3});
  }
}

TEST_CASE("variable: sharing a gradient between two inputs never lets one change the other") {
  Variable a = parameter({1, 2}), b = parameter({3, 4});
  dot(add(add(a, b), a), {1, 10}).backward();  // b takes over the very tensor that a adds to
  CHECK(gradient_of(a) == Floats{2, 20});
  CHECK(gradient_of(b) == Floats{1, 10});
}

TEST_CASE("variable: gradients of several backward() add up on the leaf until they are cleared") {
  Variable x = parameter({1, 2}), y = parameter({1, 2});
  for (int i = 0; i < 3; ++i) dot(add(x, y), {1, 2}).backward();
  CHECK(gradient_of(x) == Floats{3, 6});
  CHECK(gradient_of(y) == Floats{3, 6});
  x.clear_grad();
  CHECK_FALSE(x.grad().defined());
  dot(add(x, y), {1, 2}).backward();
  CHECK(gradient_of(x) == Floats{1, 2});
  CHECK(gradient_of(y) == Floats{4, 8});
}

TEST_CASE("variable: inputs that need no gradient get none") {
  Variable x(Tensor::from<float>({2}, {1, 2})), w = parameter({1, 1});
  dot(add(x, w), {1, 2}).backward();
  CHECK_FALSE(x.grad().defined());
  CHECK(gradient_of(w) == Floats{1, 2});
}

TEST_CASE("variable: NoGrad records nothing and keeps nothing alive") {
  Variable x = parameter({1, 2});
  std::weak_ptr<int> kept;
  const auto step = [&] {
    auto alive = std::make_shared<int>(1);
    kept = alive;
    return Variable::record(x.value(), {x}, [alive](const Tensor& g, Gradients& gradients) { gradients.add(0, g); });
  };
  Variable recorded = step();
  CHECK(recorded.requires_grad());
  CHECK_FALSE(kept.expired());
  {
    const NoGrad outer;
    {
      const NoGrad inner;
      CHECK_FALSE(add(x, x).requires_grad());
    }
    const Variable free = step();
    CHECK_FALSE(free.requires_grad());
    CHECK(kept.expired());
    CHECK_THROWS_AS(dot(free, {1, 1}).backward(), Error);
  }
  CHECK(add(x, x).requires_grad());
}

TEST_CASE("variable: backward() frees the tape and the gradients in between") {
  Variable x = parameter({1, 2});
  const Variable middle = add(x, x);
  Variable end = dot(relu(middle), {1, 2});
  end.backward();
  CHECK_FALSE(middle.grad().defined());
  CHECK_THROWS_AS(end.backward(), Error);  // there is nothing left to walk
  CHECK(gradient_of(x) == Floats{2, 4});
}

TEST_CASE("variable: misuse is an internal error with the shape") {
  Variable x = parameter({1, 2});
  CHECK_THROWS_WITH_AS(add(x, x).backward(), "backward() starts from a scalar, not from shape [2]", Error);
  CHECK_THROWS_AS(x.quantized(), Error);
  CHECK_THROWS_AS(Variable().value(), Error);
  CHECK_THROWS_AS(add(x, x).mutable_value(), Error);
  const Variable wrong =
      Variable::record(Tensor::scalar(0, DType::f32), {x}, [](const Tensor& g, Gradients& gradients) {
        gradients.add(0, g);  // a scalar for a vector
      });
  CHECK_THROWS_AS(Variable(wrong).backward(), Error);
}
