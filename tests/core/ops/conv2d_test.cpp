#include "core/ops/conv2d.h"

#include "core/base/error.h"
#include "tests/support/conv_problems.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Codes of normal data over two deviations, in float64 with a step that is no round number.
Quantized random_codes(const Shape& shape, const LevelSet& levels, bool has_sign, Philox& random) {
  Quantized q = Quantized::like(Tensor(shape, DType::f64), levels, has_sign);
  q.step.fill(0.37 / static_cast<double>(levels.k()));
  dispatch_any(q.codes.dtype(), [&](auto zero) {
    for (auto& code : q.codes.data<decltype(zero)>()) {
      const int64_t magnitude = levels.codes()[random.below(static_cast<uint32_t>(levels.codes().size()))];
      code = static_cast<decltype(zero)>(has_sign && random.below(2) ? -magnitude : magnitude);
    }
  });
  return q;
}

}  // namespace

TEST_CASE("gradient: conv2d") {
  for (const ConvProblem& p : conv_problems()) {
    INFO(p.text());
    Philox random = random_numbers(11);
    expect_gradients([&](const auto& in) { return conv2d(in[0], in[1], p.geometry); },
                     {random_tensor(p.x(), DType::f64, random), random_tensor(p.w(), DType::f64, random)});
  }
}

// The surrogate of conv2d_codes is the convolution of the values code * step.
TEST_CASE("gradient: conv2d_codes, exact codes and codes too wide for 8 bits") {
  for (const LevelSet* levels :
       {&LevelSet::of_magnitude(LevelMethod::apot, 4), &LevelSet::of_magnitude(LevelMethod::apot, 6)})
    for (const ConvProblem& p : conv_problems()) {
      INFO(p.text());
      CAPTURE(levels->k());
      Philox random = random_numbers(12);
      const Quantized x = random_codes(p.x(), *levels, false, random), w = random_codes(p.w(), *levels, true, random);
      CHECK(x.exact() == (levels->k() <= 255));
      const Tensor x_values = values_of(Variable(x)).value(), w_values = values_of(Variable(w)).value();
      const auto codes = [&](const std::vector<Variable>& in) {
        return conv2d_codes(as_codes(in[0], x), as_codes(in[1], w), p.geometry);
      };
      const auto values = [&](const std::vector<Variable>& in) { return conv2d(in[0], in[1], p.geometry); };
      const std::vector<Variable> point{Variable(x_values), Variable(w_values)};
      CHECK(relative_difference(codes(point).value(), values(point).value()) < 1e-13);
      if (p.x().elements() == 1) continue;  // one code may well be 0
      expect_gradients(codes, values, {x_values, w_values});
    }
}

TEST_CASE("conv2d: shapes that do not fit are one error with both shapes") {
  struct Wrong {
    Shape x, w;
    Conv2dGeometry geometry;
  };
  for (const Wrong& wrong : std::vector<Wrong>{{{1, 5, 5, 3}, {4, 3, 3, 2}, {1, 1, 1}},
                                               {{1, 5, 5, 4}, {3, 3, 3, 2}, {1, 1, 2}},
                                               {{1, 2, 5, 3}, {4, 3, 3, 3}, {1, 0, 1}},
                                               {{5, 5, 3}, {4, 3, 3, 3}, {1, 1, 1}},
                                               {{1, 5, 5, 3}, {4, 3, 3, 3}, {0, 1, 1}},
                                               {{1, 5, 5, 3}, {4, 3, 3, 3}, {1, -1, 1}}}) {
    const Variable x(Tensor::zeros(wrong.x, DType::f32)), w(Tensor::zeros(wrong.w, DType::f32));
    try {
      conv2d(x, w, wrong.geometry);
      FAIL("no error");
    } catch (const Error& error) {
      const std::string message = error.what();
      CHECK(message.find(text(wrong.x)) != std::string::npos);
      CHECK(message.find(text(wrong.w)) != std::string::npos);
    }
  }
}
