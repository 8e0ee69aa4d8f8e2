// The forward kernels of a fused training step against the lines of the contract that they stand for.
#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "core/kernels/kernels.h"
#include "tests/emulation/convolutions_of_codes.h"
#include "tests/emulation/fresh_memory.h"

using namespace apotnet;
using namespace apotnet::test;
using namespace apotnet::cuda;

namespace {

const Kernels& reference() { return reference_kernels(); }

// Codes up to `most`, of either sign for s8; the largest is frequent.
Tensor random_codes(const Shape& shape, DType dtype, int most, Philox& random) {
  Tensor codes(shape, dtype);
  const auto magnitude = [&] { return random.below(8) ? random.below(static_cast<uint32_t>(most) + 1) : most; };
  if (dtype == DType::u8)
    for (uint8_t& code : codes.data<uint8_t>()) code = static_cast<uint8_t>(magnitude());
  else
    for (int8_t& code : codes.data<int8_t>()) {
      const auto value = static_cast<int>(magnitude());
      code = static_cast<int8_t>(random.below(2) ? -value : value);
    }
  return codes;
}

Sums room_for(const Shape& shape) {
  Sums sums;
  sums.narrow = Tensor(shape, DType::s16, kCuda);
  sums.wide = Tensor(shape, DType::s32, kCuda);
  return sums;
}

struct ReadSums {
  Tensor values;
  int64_t wide = 0;  // how many are beyond 16 bits
};
ReadSums read(const Sums& sums) {
  const Tensor narrow = sums.narrow.on({}), wide = sums.wide.on({});
  const float step = static_cast<float>(sums.step_a.on({}).item()) * static_cast<float>(sums.step_b.on({}).item());
  ReadSums result{Tensor(sums.shape(), DType::f32)};
  for (size_t i = 0; i < narrow.data<int16_t>().size(); ++i) {
    const int16_t sum = narrow.data<int16_t>()[i];
    result.wide += sum == kWideSum;
    result.values.data<float>()[i] = static_cast<float>(sum == kWideSum ? wide.data<int32_t>()[i] : sum) * step;
  }
  return result;
}

// Sums of any size as a convolution leaves them.
Sums random_sums(const Shape& shape, Philox& random) {
  Sums sums = room_for(shape);
  Tensor narrow(shape, DType::s16), wide = Tensor::full(shape, DType::s32, -123456789);
  for (size_t i = 0; i < narrow.data<int16_t>().size(); ++i) {
    const auto sum = static_cast<int32_t>(random.normal() * 15000);
    const bool fits = sum > kWideSum && sum <= 32767;
    narrow.data<int16_t>()[i] = fits ? static_cast<int16_t>(sum) : kWideSum;
    if (!fits) wide.data<int32_t>()[i] = sum;
  }
  sums.narrow = narrow.on(kCuda);
  sums.wide = wide.on(kCuda);
  sums.step_a = Tensor::scalar(0.0173, DType::f32).on(kCuda);
  sums.step_b = Tensor::scalar(0.0041, DType::f32).on(kCuda);
  return sums;
}

StatisticsOutput statistics_for(int64_t channels, const Tensor& running_mean, const Tensor& running_variance) {
  StatisticsOutput statistics;
  statistics.accumulators = Tensor::zeros({2, channels}, DType::i64, kCuda);
  statistics.mean = Tensor({channels}, DType::f32, kCuda);
  statistics.variance = Tensor({channels}, DType::f32, kCuda);
  if (running_mean.defined()) {
    statistics.running_mean = running_mean.on(kCuda);
    statistics.running_variance = running_variance.on(kCuda);
  }
  statistics.momentum = 0.1;
  return statistics;
}

void check_close(const Tensor& found, const Tensor& expected, const std::vector<double>& scale) {
  const std::vector<double> a = doubles(found.on({})), b = doubles(expected);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(a[i] - b[i]) <= 1e-6 * (std::abs(b[i]) + scale[i]));
  }
}

// Runs a convolution twice with the same accumulators and compares all it writes, `codes` being those of the input.
void check_convolution(const ConvProblem& problem, const Quantized& codes, const Quantized& w, bool has_running,
                       const std::function<void(Sums&, StatisticsOutput&)>& convolve, int64_t least_wide = 0) {
  const int64_t channels = problem.outputs;
  Tensor y(problem.y(), DType::f32), mean({channels}, DType::f32), variance({channels}, DType::f32);
  reference().conv->conv2d_codes_statistics(codes, w, problem.geometry, y, mean, variance);
  Philox random = random_numbers(311);
  Tensor running_mean, running_variance;
  if (has_running) {
    running_mean = random_tensor({channels}, DType::f32, random);
    running_variance = random_tensor({channels}, DType::f32, random, 0.1, 2);
  }
  StatisticsOutput statistics = statistics_for(channels, running_mean, running_variance);
  // The reference rounds each value to a float before it squares what is left of the mean.
  std::vector<double> deviation = doubles(variance), rounding = doubles(mean);
  for (size_t i = 0; i < deviation.size(); ++i) {
    deviation[i] = std::sqrt(deviation[i]);
    rounding[i] = 0.12 * std::abs(rounding[i]) * deviation[i];
  }
  for (int time = 0; time < (problem.images > 3 ? 1 : 2); ++time) {
    CAPTURE(time);
    Sums sums = room_for(problem.y());
    convolve(sums, statistics);
    const ReadSums found = read(sums);
    CHECK(same_bits(found.values, y));
    CHECK(found.wide >= least_wide);
    check_close(statistics.mean, mean, deviation);
    check_close(statistics.variance, variance, rounding);
    for (const double value : doubles(statistics.accumulators.on({}))) CHECK(value == 0);
    if (!has_running) continue;
    reference().norm->update_running_statistics(mean, variance, y.elements() / channels, 0.1, running_mean,
                                                running_variance);
    check_close(statistics.running_mean, running_mean, deviation);
    check_close(statistics.running_variance, running_variance, rounding);
  }
  CHECK_FALSE(cuda_device().take_trouble());
}

Quantized on_device(const Quantized& q) { return {q.codes.on(kCuda), q.step.on(kCuda), q.levels}; }

// An operand of the device, and its numbers by the contract's lines.
struct TestOperand {
  Operand operand;
  Tensor expected;

  TestOperand(const Shape& shape, bool stored, bool has_norm, bool relu, Philox& random) {
    const int64_t channels = shape[shape.rank() - 1];
    if (stored) {
      expected = random_tensor(shape, DType::f32, random);
      operand.values = expected.on(kCuda);
    } else {
      operand.sums = random_sums(shape, random);
      expected = read(*operand.sums).values;
    }
    if (has_norm) {
      const Tensor mean = random_tensor({channels}, DType::f32, random, 0.3),
                   variance = random_tensor({channels}, DType::f32, random, 0.1, 1.5),
                   gamma = random_tensor({channels}, DType::f32, random, 0.3, 1),
                   beta = random_tensor({channels}, DType::f32, random, 0.2);
      Tensor y(shape, DType::f32);
      reference().norm->batch_norm(expected, mean, variance, gamma, beta, 1e-5, y);
      expected = y;
      operand.norm = BatchNormTerms{mean.on(kCuda), variance.on(kCuda), gamma.on(kCuda), beta.on(kCuda), 1e-5, false};
    }
    operand.relu = relu;
    if (relu) expected = behind_relu(expected);
  }
  static Tensor behind_relu(const Tensor& x) {
    Tensor y(x.shape(), DType::f32);
    reference().elementwise->relu(x, y);
    return y;
  }
};

// One operand or two of every kind, by number, with its value by the contract's lines.
struct TestValue {
  static constexpr int kKinds = 7;
  Value value;
  Tensor expected;

  TestValue(const Shape& shape, int kind, Philox& random) {
    // For a, then b: stored, behind a batch norm, behind a ReLU.
    struct Kind {
      bool a[3];
      bool has_b, b[3], relu;
    };
    const Kind kinds[kKinds] = {
        {{false, true, true}, false, {}, false},                   // between the convolutions of a block
        {{false, true, false}, true, {true, false, false}, true},  // identity shortcut
        {{false, true, false}, true, {false, true, false}, true},  // convolved shortcut
        {{false, true, false}, true, {false, true, true}, true},   // identity shortcut that is not stored
        {{true, false, false}, false, {}, false},                  // stored
        {{true, true, true}, true, {true, false, true}, false},
        {{false, false, false}, false, {}, true},
    };
    const Kind& k = kinds[kind];
    const TestOperand a(shape, k.a[0], k.a[1], k.a[2], random);
    value.a = a.operand;
    value.relu = k.relu;
    expected = a.expected;
    if (k.has_b) {
      const TestOperand b(shape, k.b[0], k.b[1], k.b[2], random);
      value.b = b.operand;
      Tensor sum(shape, DType::f32);
      reference().elementwise->add(a.expected, b.expected, sum);
      expected = sum;
    }
    if (k.relu) expected = TestOperand::behind_relu(expected);
  }
};

// Level sets of all kinds, by number.
const LevelSet& some_levels(int number) {
  switch (number % 4) {
    case 0:
      return LevelSet::for_activations(LevelMethod::apot, 4);
    case 1:
      return LevelSet::for_activations(LevelMethod::uniform, 8);
    case 2:
      return LevelSet::of_magnitude(LevelMethod::ternary, 1);
    default:
      return LevelSet::for_activations(LevelMethod::pot, 3);
  }
}

QuantizedValue room_for_codes(const Value& value, double alpha, const LevelSet& levels) {
  QuantizedValue result;
  result.value = value;
  result.alpha = Tensor::scalar(alpha, DType::f32).on(kCuda);
  result.codes = {Tensor(value.shape(), DType::u8, kCuda), Tensor({}, DType::f32, kCuda), &levels};
  return result;
}

Quantized quantized(const Tensor& x, double alpha, const LevelSet& levels) {
  Quantized out = Quantized::like(x, levels, false);
  reference().quantize->quantize_activation(x, Tensor::scalar(alpha, DType::f32), out);
  return out;
}

}  // namespace

TEST_CASE("cuda: convolutions of codes on tensor cores have the reference's sums and statistics") {
  const FreshMemory fresh;
  uint64_t seed = 300;
  for (const ConvProblem& problem : convolutions_of_codes())
    for (const bool large : {false, true}) {
      if (problem.images > 3 && !large) continue;
      CAPTURE(problem.text());
      CAPTURE(large);
      Philox random = random_numbers(++seed);
      const Quantized x{random_codes(problem.x(), DType::u8, large ? 255 : 10, random),
                        Tensor::scalar(0.0123, DType::f32), nullptr};
      const Quantized w{random_codes(problem.w(), DType::s8, large ? 127 : 8, random),
                        Tensor::scalar(0.0456, DType::f32), nullptr};
      const Quantized device_x = on_device(x), device_w = on_device(w);
      // With large codes a good part of the sums of at least 144 products leaves 16 bits.
      const bool many_products = problem.kernel_h * problem.kernel_w * problem.channels >= 144 && problem.height > 3;
      check_convolution(
          problem, x, w, large,
          [&](Sums& y, StatisticsOutput& statistics) {
            launch_convolve_codes(device_x, device_w, problem.geometry, y, statistics);
          },
          large && many_products ? problem.y().elements() / 3 : 0);
    }
}

TEST_CASE("cuda: statistics of sums that hardly vary about a large mean") {
  const FreshMemory fresh;
  const ConvProblem problem{"constant", 2, 6, 5, 64, 16, 1, 1, {1, 0, 1}};
  Quantized x{Tensor::full(problem.x(), DType::u8, 255), Tensor::scalar(0.5, DType::f32), nullptr};
  const Quantized w{Tensor::full(problem.w(), DType::s8, 127), Tensor::scalar(0.25, DType::f32), nullptr};
  x.codes.data<uint8_t>()[5] = 254;
  check_convolution(problem, x, w, true, [&](Sums& y, StatisticsOutput& statistics) {
    launch_convolve_codes(on_device(x), on_device(w), problem.geometry, y, statistics);
  });
}

namespace {

void convolve_quantized(const QuantizedValue& x, const Tensor& values, const Quantized& w,
                        const Conv2dGeometry& geometry, Sums& y, const StatisticsOutput& statistics) {
  QuantizedConvolution convolution{x, values, w, geometry, y, statistics};
  launch_quantize_and_convolve(convolution);
  y = convolution.y;
}

}  // namespace

TEST_CASE("cuda: values are rounded on the way into a convolution, with the codes of the contract's lines") {
  const FreshMemory fresh;
  int number = 0;
  for (const ConvProblem& problem : convolutions_of_codes()) {
    if (problem.outputs > kFusedChannels) continue;
    const int kind = number++ % TestValue::kKinds;
    CAPTURE(problem.text());
    CAPTURE(kind);
    Philox random = random_numbers(320 + static_cast<uint64_t>(number));
    const LevelSet& levels = some_levels(number);
    const TestValue value(problem.x(), kind, random);
    constexpr double kAlpha = 1.7;
    const Quantized codes = quantized(value.expected, kAlpha, levels);
    const Quantized w{random_codes(problem.w(), DType::s8, 16, random), Tensor::scalar(0.0456, DType::f32), nullptr};
    const Quantized device_w = on_device(w);
    QuantizedValue x = room_for_codes(value.value, kAlpha, levels);
    Tensor values;
    if (number % 2) values = Tensor(problem.x(), DType::f32, kCuda);
    check_convolution(problem, codes, w, number % 2, [&](Sums& y, StatisticsOutput& statistics) {
      convolve_quantized(x, values, device_w, problem.geometry, y, statistics);
    });
    CHECK(same_bits(x.codes.codes.on({}), codes.codes));
    CHECK(same_bits(x.codes.step.on({}), codes.step));
    if (values.defined()) CHECK(same_bits(values.on({}), value.expected));
  }
}

TEST_CASE("cuda: every kind of value goes into a convolution of an image of several tiles") {
  const FreshMemory fresh;
  const ConvProblem problem{"several tiles", 2, 19, 24, 16, 32, 3, 3, {2, 1, 1}};
  for (int kind = 0; kind < TestValue::kKinds; ++kind)
    for (int set = 0; set < 4; ++set) {
      CAPTURE(kind);
      CAPTURE(set);
      Philox random = random_numbers(360 + static_cast<uint64_t>(kind * 4 + set));
      const LevelSet& levels = some_levels(set);
      const TestValue value(problem.x(), kind, random);
      const Quantized codes = quantized(value.expected, 2.25, levels);
      if (kind < 4 && set != 1) check_all_levels(codes, false);
      const Quantized w{random_codes(problem.w(), DType::s8, 16, random), Tensor::scalar(0.01, DType::f32), nullptr};
      const Quantized device_w = on_device(w);
      QuantizedValue x = room_for_codes(value.value, 2.25, levels);
      Tensor values(problem.x(), DType::f32, kCuda);
      check_convolution(problem, codes, w, true, [&](Sums& y, StatisticsOutput& statistics) {
        convolve_quantized(x, values, device_w, problem.geometry, y, statistics);
      });
      CHECK(same_bits(x.codes.codes.on({}), codes.codes));
      CHECK(same_bits(values.on({}), value.expected));
    }
}

TEST_CASE("cuda: values are stored as floats, as codes or as both") {
  const FreshMemory fresh;
  int number = 0;
  for (const Shape& shape :
       {Shape{2, 5, 7, 16}, Shape{1, 3, 5, 48}, Shape{1, 3, 3, 10}, Shape{2, 2, 3, 544}, Shape{3, 264}})
    for (int kind = 0; kind < TestValue::kKinds; ++kind) {
      CAPTURE(shape);
      CAPTURE(kind);
      Philox random = random_numbers(400 + static_cast<uint64_t>(++number));
      const LevelSet& levels = some_levels(number);
      const TestValue value(shape, kind, random);
      const Quantized codes = quantized(value.expected, 1.3, levels);
      QuantizedValue out = room_for_codes(value.value, 1.3, levels);
      Tensor values, none;
      if (number % 3) values = Tensor(shape, DType::f32, kCuda);
      const bool stores_codes = number % 3 != 1;
      launch_evaluate(value.value, values, stores_codes ? &out : nullptr);
      if (values.defined()) CHECK(same_bits(values.on({}), value.expected));
      if (!stores_codes) continue;
      CHECK(same_bits(out.codes.codes.on({}), codes.codes));
      CHECK(same_bits(out.codes.step.on({}), codes.step));
    }
  CHECK_FALSE(cuda_device().take_trouble());
}

TEST_CASE("cuda: an unusable alpha is trouble on the way into a convolution too") {
  const FreshMemory fresh;
  const ConvProblem problem{"small", 1, 3, 3, 16, 16, 3, 3, {1, 1, 1}};
  Philox random = random_numbers(450);
  const TestValue value(problem.x(), 4, random);
  const Quantized w{random_codes(problem.w(), DType::s8, 4, random), Tensor::scalar(1, DType::f32), nullptr};
  Tensor none;
  for (const double alpha : {0.0, -1.0, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    CAPTURE(alpha);
    QuantizedValue x = room_for_codes(value.value, alpha, some_levels(0));
    Sums y = room_for(problem.y());
    StatisticsOutput statistics = statistics_for(problem.outputs, {}, {});
    convolve_quantized(x, none, on_device(w), problem.geometry, y, statistics);
    CHECK(cuda_device().take_trouble());
    launch_evaluate(value.value, none, &x);
    CHECK(cuda_device().take_trouble());
  }
}

TEST_CASE("cuda: convolutions that tensor cores do not take are errors") {
  const FreshMemory fresh;
  const auto run = [](const ConvProblem& problem) {
    const Quantized x{Tensor::zeros(problem.x(), DType::u8, kCuda), Tensor::zeros({}, DType::f32, kCuda), nullptr};
    const Quantized w{Tensor::zeros(problem.w(), DType::s8, kCuda), Tensor::zeros({}, DType::f32, kCuda), nullptr};
    Sums y = room_for(problem.y());
    StatisticsOutput statistics = statistics_for(problem.outputs, {}, {});
    launch_convolve_codes(x, w, problem.geometry, y, statistics);
  };
  CHECK_THROWS_AS(run({"channels", 1, 3, 3, 8, 16, 3, 3, {1, 1, 1}}), Error);
  CHECK_THROWS_AS(run({"outputs", 1, 3, 3, 16, 24, 3, 3, {1, 1, 1}}), Error);
  CHECK_THROWS_AS(run({"groups", 1, 3, 3, 32, 32, 3, 3, {1, 1, 2}}), Error);
  CHECK_THROWS_AS(run({"a kernel too large", 1, 30, 30, 16, 64, 29, 99, {1, 49, 1}}), Error);
}
