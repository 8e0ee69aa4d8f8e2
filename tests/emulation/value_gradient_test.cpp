// The way of a gradient back through a value, and in front of a batch norm, against the lines of the contract.
#include "core/kernels/cuda/levels.h"
#include "tests/emulation/gradient_problems.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

constexpr OperandKind kSums{.sums = true, .norm = true}, kWideSums{.sums = true, .norm = true, .wide = true},
    kFloats{.norm = true}, kEvaluated{.sums = true, .norm = true, .constant_statistics = true}, kStored{};

const std::vector<ValueCase>& value_cases() {
  static const std::vector<ValueCase> cases{
      {"norm, ReLU, quantizer", kSums},
      {"the same with sums beyond 16 bits, 2 bits", kWideSums, {}, true, true, true, {}, false, false, 2},
      {"the same with stored floats, 5 bits", kFloats, {}, true, true, true, {}, false, false, 5},
      {"evaluation mode", kEvaluated},
      {"norm with its own ReLU", {.sums = true, .norm = true, .relu = true}, {}, false},
      {"identity block", kSums, kStored, true, true, true, DType::bf16},
      {"identity block in place", kSums, kStored, true, true, true, DType::f32, true},
      {"shortcut behind a norm and ReLU of its own", kSums, OperandKind{.sums = true, .relu = true}},
      {"projection block", kSums, kWideSums, true, true, true, DType::f32},
      {"projection block, value stored", kSums, kFloats, true, true, true, DType::bf16, false, true},
      {"last block: no quantizer", kFloats, kStored, true, false},
      {"mask that another kernel has applied", kSums, kStored, true, true, false, DType::bf16},
      {"a stored value without a norm", kStored},
      {"sum of two gradients and nothing else", kStored, {}, false, false, false, DType::f32},
  };
  return cases;
}

// Packs of 8 and of 1; more channels than a block; many blocks; pixels that are no multiple of a block's.
const std::vector<Shape> kShapes{{2, 5, 7, 16}, {3, 3, 5, 3}, {1, 4, 3, 520}, {1, 3, 2, 301}, {2, 11, 13, 48}};

// dx in front of the batch norms for the gradient as stored: the reference knows that of the unrounded one.
void check_norm_input_gradient(const ValueProblem& problem, const cuda::ValueGradient& gradient,
                               const ExpectedValueGradient& expected) {
  const Tensor stored = as_floats(gradient.out.on({}));
  size_t n = 0;
  for (const TestOperand& operand : problem.operands) {
    if (!operand.norm) continue;
    cuda::Operand x = operand.device;
    x.norm.reset();
    x.relu = false;
    const cuda::NormInputGradient input{gradient.out, x, gradient.norms[n].coefficients};
    Tensor dx = device_tensor(problem.shape, DType::f32), rounded_dx = device_tensor(problem.shape, DType::bf16);
    cuda::launch_norm_input_gradient(input, dx);
    cuda::launch_norm_input_gradient(input, rounded_dx);
    Tensor wanted = expected.dx[n].clone();
    for (size_t i = 0; i < wanted.data<float>().size(); ++i) {
      const size_t c = i % static_cast<size_t>(operand.norm->gamma.elements());
      const double factor = operand.norm->gamma.data<float>()[c] /
                            std::sqrt(operand.norm->variance.data<float>()[c] + operand.norm->epsilon);
      wanted.data<float>()[i] +=
          static_cast<float>(factor * (double{stored.data<float>()[i]} - double{expected.out.data<float>()[i]}));
    }
    CHECK(relative_difference(dx.on({}), wanted) < 2e-6);
    CHECK(same_bits(rounded_dx.on({}), rounded(dx.on({}))));
    ++n;
  }
}

}  // namespace

TEST_CASE("cuda: the gradient of a value is that of the lines it is made of") {
  cuda_device();
  uint64_t seed = 201;
  for (const ValueCase& kind : value_cases())
    for (const Shape& shape : kShapes) {
      CAPTURE(kind.name);
      INFO(text(shape));
      Philox random = random_numbers(seed++);
      const ValueProblem problem(kind, shape, random);
      check_data(problem.value, 0.3);
      for (const DType type : {DType::f32, DType::bf16}) {
        if (kind.in_place && type != kind.other) continue;
        const Tensor g = as_type(random_tensor(shape, DType::f32, random), type), device_g = to_device(g);
        const ExpectedValueGradient expected(problem, as_floats(g));
        cuda::ValueGradient gradient = problem.on_device(type);
        const std::vector<Tensor> actual = same_in_every_order([&] {
          if (kind.in_place) gradient.other.copy_from({problem.other.raw(), problem.other.bytes()});
          cuda::launch_value_gradient(device_g, gradient);
          return written(gradient);
        });
        CHECK(same_bits(actual[0], as_type(expected.out, type)));
        check_sums(actual, expected, 2e-6);
        if (type == DType::bf16) check_norm_input_gradient(problem, gradient, expected);
      }
    }
}

TEST_CASE("cuda: the gradient of a mean over images is that of its pixels, each with its share") {
  cuda_device();
  const ValueCase kind{"last block", kSums, kStored, true, false};
  uint64_t seed = 240;
  for (const Shape& shape : {Shape{2, 8, 8, 64}, Shape{3, 5, 5, 3}, Shape{2, 1, 1, 16}, Shape{1, 7, 3, 300}}) {
    INFO(text(shape));
    Philox random = random_numbers(seed++);
    const ValueProblem problem(kind, shape, random);
    const Tensor of_mean = random_tensor({shape[0], 1, 1, shape[3]}, DType::f32, random);
    const auto pixels = static_cast<size_t>(shape[1] * shape[2]), channels = static_cast<size_t>(shape[3]);
    Tensor of_pixels(shape, DType::f32);
    for (size_t i = 0; i < of_pixels.data<float>().size(); ++i)
      of_pixels.data<float>()[i] = of_mean.data<float>()[i / channels / pixels * channels + i % channels] *
                                   static_cast<float>(1.0 / static_cast<double>(pixels));
    const auto run = [&](const Tensor& g) {
      cuda::ValueGradient gradient = problem.on_device(DType::bf16);
      return same_in_every_order([&] {
        cuda::launch_value_gradient(to_device(g), gradient);
        return written(gradient);
      });
    };
    const auto expected = run(of_pixels), actual = run(of_mean);
    for (size_t i = 0; i < expected.size(); ++i) CHECK(same_bits(actual[i], expected[i]));
  }
}

TEST_CASE("cuda: the gradient of a value meets every tie, level and clip") {
  cuda_device();
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 4);
  const float alpha = 1.37f;
  std::vector<float> values{0.0f, -0.0f, 2 * alpha, 1e30f, 1e-30f, alpha, std::nextafter(alpha, 2.0f)};
  for (int64_t m = 0; m <= 2 * levels.k(); ++m) {
    const float tie = static_cast<float>(m) / static_cast<float>(2 * levels.k()) * alpha;
    values.insert(values.end(), {tie, std::nextafter(tie, 9.0f), std::nextafter(tie, -9.0f)});
  }
  Philox random = random_numbers(260);
  const Shape shape{static_cast<int64_t>(values.size()), 1};
  ValueProblem problem({"stored", kStored}, shape, random);
  problem.value = problem.operands[0].raw = Tensor::from<float>(shape, values);
  problem.operands[0].device.values = to_device(problem.value);
  reference_kernels().elementwise->relu(problem.value.clone(), problem.value);
  // One element at a time speaks of its own code, clip and mask.
  for (size_t i = 0; i < values.size(); ++i) {
    CAPTURE(values[i]);
    Tensor g = Tensor::zeros(shape, DType::f32);
    g.data<float>()[i] = 1;
    const ExpectedValueGradient expected(problem, g);
    cuda::ValueGradient gradient = problem.on_device(DType::f32);
    cuda::launch_value_gradient(to_device(g), gradient);
    CHECK(same_bits(gradient.out.on({}), expected.out));
    CHECK(std::abs(gradient.galpha.on({}).item() - expected.galpha.item()) <= 2e-7);
  }
}

TEST_CASE("cuda: gradients of values with shapes that do not fit are refused") {
  cuda_device();
  Philox random = random_numbers(261);
  const ValueProblem problem({"norm", kSums}, {1, 2, 3, 16}, random);
  cuda::ValueGradient gradient = problem.on_device(DType::f32);
  CHECK_THROWS_AS(cuda::launch_value_gradient(device_tensor({1, 3, 2, 16}, DType::f32), gradient), Error);
  CHECK_THROWS_AS(cuda::launch_value_gradient(device_tensor({1, 1, 3, 16}, DType::f32), gradient), Error);
  gradient.norms[0].coefficients = device_tensor({16, 2}, DType::f32);
  CHECK_THROWS_AS(cuda::launch_value_gradient(device_tensor({1, 2, 3, 16}, DType::f32), gradient), Error);
}

TEST_CASE("cuda: a clipped quotient is that of a division, to the last bit, and 1 above alpha") {
  Philox random = random_numbers(311);
  for (int i = 0; i < 3000; ++i) {
    const float alpha = static_cast<float>(std::exp2(random.normal())) * (i % 3 ? 1.0f : 4.0f);
    const cuda::ClippedQuotient quotient(alpha);
    for (int k = 0; k <= 96; ++k) {
      // About each midpoint of 48 levels, and anywhere.
      float x = static_cast<float>(k) * alpha / 96;
      for (int steps = -3; steps <= 3; ++steps) {
        float near = x;
        for (int step = 0; step < std::abs(steps); ++step) near = std::nextafterf(near, steps < 0 ? -1.0f : 100.0f);
        const float wanted = near / alpha;
        REQUIRE(quotient(near) == (near > alpha ? 1.0f : wanted));
      }
      x = static_cast<float>(std::abs(random.normal())) * alpha;
      REQUIRE(quotient(x) == (x > alpha ? 1.0f : x / alpha));
      REQUIRE((x > alpha) == (x / alpha > 1));
    }
  }
  const cuda::ClippedQuotient quotient(0.7f);
  CHECK(quotient(0) == 0);
  CHECK(quotient(HUGE_VALF) == 1);
  CHECK(quotient(-0.35f) == -0.35f / 0.7f);
  CHECK(std::isnan(quotient(NAN)));
}
