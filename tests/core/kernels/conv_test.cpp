#include "core/kernels/conv.h"

#include "tests/support/backends.h"
#include "tests/support/conv_problems.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Of the largest output: float32 sums of some thousand products against sums in double.
constexpr double kTolerance = 1e-5;

// What oneDNN got wrong once.
const std::vector<ConvProblem> kTraps{
    {"strided 1x1, few channels (AVX2)", 1, 12, 8, 3, 16, 1, 1, {2, 0, 1}},
    {"strided 1x1, few channels a group (AVX2)", 2, 12, 8, 10, 16, 1, 1, {2, 0, 2}},
    {"strided 1x1, one channel (AVX2)", 2, 11, 8, 1, 5, 1, 1, {3, 0, 1}},
};

std::vector<ConvProblem> all_problems() {
  std::vector<ConvProblem> problems = conv_problems();
  problems.insert(problems.end(), kTraps.begin(), kTraps.end());
  const std::vector<ConvProblem> random = random_conv_problems(200, 81);
  problems.insert(problems.end(), random.begin(), random.end());
  return problems;
}

Tensor empty(const Shape& shape) { return Tensor(shape, DType::f32); }

// A single output may be a sum that cancels, so the scale is at least that of one product.
void check_close(const Tensor& fast, const Tensor& plain) {
  const std::vector<double> a = doubles(fast), b = doubles(plain);
  double largest = 1, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    difference = std::isnan(a[i]) ? INFINITY : std::max(difference, std::abs(a[i] - b[i]));
  }
  CHECK(difference <= kTolerance * largest);
}

struct CodesProblem {
  const LevelSet* x_levels;
  const LevelSet* w_levels;
};

const std::vector<CodesProblem>& code_problems() {
  using enum LevelMethod;
  const auto pair = [](LevelMethod method, int bits, int weight_bits) {
    return CodesProblem{&LevelSet::for_activations(method, bits), &LevelSet::for_weights(method, weight_bits)};
  };
  static const std::vector<CodesProblem> problems{
      pair(apot, 2, 2),    pair(apot, 3, 3),    pair(apot, 4, 4),    pair(apot, 5, 5),    pair(pot, 3, 4),
      pair(uniform, 2, 3), pair(uniform, 3, 2), pair(uniform, 4, 4), pair(uniform, 5, 5), pair(uniform, 6, 6),
      pair(uniform, 7, 7), pair(uniform, 8, 8), pair(uniform, 8, 4), pair(apot, 5, 6),    pair(uniform, 4, 8),
      pair(apot, 6, 7),    pair(pot, 4, 4),     pair(apot, 6, 4),
  };
  return problems;
}

enum class Codes { random, largest, largest_positive };

// `largest`: every code of full magnitude, weights of random sign, so that 16-bit sums of two products would saturate.
Quantized codes_of(const Shape& shape, const LevelSet& levels, bool has_sign, Codes kind, Philox& random) {
  Quantized q = Quantized::like(empty(shape), levels, has_sign);
  q.step.fill(1.7 / static_cast<double>(levels.k()));
  dispatch_any(q.codes.dtype(), [&](auto zero) {
    for (auto& code : q.codes.data<decltype(zero)>()) {
      const auto level = random.below(static_cast<uint32_t>(levels.codes().size()));
      const int64_t magnitude = kind == Codes::random ? levels.codes()[level] : levels.k();
      const bool negative = has_sign && kind != Codes::largest_positive && random.below(2);
      code = static_cast<decltype(zero)>(negative ? -magnitude : magnitude);
    }
  });
  return q;
}

// A signed input takes the levels of the weights.
void check_codes(const ConvProblem& p, const CodesProblem& levels, Codes kind, Philox& random,
                 bool signed_input = false) {
  INFO(p.text());
  INFO("activations ", name_of(levels.x_levels->method()), " ", levels.x_levels->magnitude_bits(), ", weights ",
       name_of(levels.w_levels->method()), " ", levels.w_levels->magnitude_bits(), ", codes ", static_cast<int>(kind));
  const Quantized x = codes_of(p.x(), signed_input ? *levels.w_levels : *levels.x_levels, signed_input, kind, random),
                  w = codes_of(p.w(), *levels.w_levels, true, kind, random);
  const Tensor gy = random_tensor(p.y(), DType::f32, random);
  const auto run = [&](const ConvKernels& kernels) {
    Tensor y = empty(p.y()), gx = empty(p.x()), gw = empty(p.w()), again = empty(p.y());
    Tensor mean = empty({p.outputs}), variance = empty({p.outputs});
    kernels.conv2d_codes(x, w, p.geometry, y);
    kernels.conv2d_codes_statistics(x, w, p.geometry, again, mean, variance);
    kernels.conv2d_codes_backward_input(gy, w, p.geometry, gx);
    kernels.conv2d_codes_backward_weight(gy, x, p.geometry, gw);
    return std::vector<Tensor>{y, gx, gw, again, mean, variance};
  };
  const std::vector<Tensor> plain = run(*reference_kernels().conv);
  for (const Kernels* kernels : fast_backends()) {
    const auto fast = same_for_all_thread_counts([&] { return run(*kernels->conv); });
    CHECK(same_bits(fast[3], fast[0]));
    check_close(fast[4], plain[4]);
    check_close(fast[5], plain[5]);
    if (x.exact() && w.exact())
      CHECK(same_bits(fast[0], plain[0]));
    else
      check_close(fast[0], plain[0]);
    check_close(fast[1], plain[1]);
    check_close(fast[2], plain[2]);
  }
}

}  // namespace

TEST_CASE("kernels: conv2d, forward and both backward, equal the reference up to rounding") {
  Philox random = random_numbers(82);
  for (const ConvProblem& p : all_problems()) {
    INFO(p.text());
    const Tensor x = random_tensor(p.x(), DType::f32, random), w = random_tensor(p.w(), DType::f32, random),
                 gy = random_tensor(p.y(), DType::f32, random);
    check_data(x);
    const auto run = [&](const ConvKernels& kernels) {
      Tensor y = empty(p.y()), gx = empty(p.x()), gw = empty(p.w());
      kernels.conv2d(x, w, p.geometry, y);
      kernels.conv2d_backward_input(gy, w, p.geometry, gx);
      kernels.conv2d_backward_weight(gy, x, p.geometry, gw);
      return std::vector<Tensor>{y, gx, gw};
    };
    const std::vector<Tensor> plain = run(*reference_kernels().conv);
    for (const Kernels* kernels : fast_backends()) {
      const auto fast = same_for_all_thread_counts([&] { return run(*kernels->conv); });
      for (size_t i = 0; i < fast.size(); ++i) check_close(fast[i], plain[i]);
    }
  }
}

TEST_CASE("kernels: conv2d_codes forward equals the reference's integers bit for bit, backward up to rounding") {
  Philox random = random_numbers(83);
  size_t next = 0;
  for (const ConvProblem& p : all_problems())
    check_codes(p, code_problems()[next++ % code_problems().size()], Codes::random, random);
}

TEST_CASE("kernels: conv2d_codes of inputs with a sign, likewise") {
  Philox random = random_numbers(85);
  size_t next = 0;
  for (const ConvProblem& p : conv_problems())
    check_codes(p, code_problems()[next++ % code_problems().size()], Codes::random, random, /*signed_input=*/true);
}

TEST_CASE("kernels: conv2d_codes is exact for codes that are all of the largest magnitude") {
  Philox random = random_numbers(84);
  for (const CodesProblem& levels : code_problems())
    for (const ConvProblem& p :
         {ConvProblem{"wide", 2, 5, 7, 64, 33, 3, 3, {1, 1, 1}}, ConvProblem{"1x1", 1, 5, 7, 128, 16, 1, 1, {1, 0, 1}},
          ConvProblem{"few", 1, 5, 7, 3, 5, 3, 3, {2, 1, 1}}, ConvProblem{"groups", 1, 5, 7, 32, 32, 3, 3, {1, 1, 2}},
          ConvProblem{"depthwise", 1, 5, 7, 16, 16, 3, 3, {1, 1, 16}}})
      for (const Codes kind : {Codes::largest, Codes::largest_positive}) check_codes(p, levels, kind, random);
}
