// The input gradient of a convolution of codes and what follows it, against the lines of the contract one by one.
#include "tests/emulation/gradient_problems.h"
#include "tests/support/conv_problems.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

constexpr OperandKind kSums{.sums = true, .norm = true}, kWideSums{.sums = true, .norm = true, .wide = true},
    kFloats{.norm = true}, kStored{};

const std::vector<ValueCase>& value_cases() {
  static const std::vector<ValueCase> cases{
      {"norm, ReLU, quantizer", kSums},
      {"identity block", kWideSums, kStored, true, true, true, DType::bf16},
      {"projection block", kFloats, kSums, true, true, true, DType::f32},
      {"identity block, value stored, in place", kSums, kStored, true, true, true, DType::f32, true, true},
      {"no quantizer", kSums, {}, true, false},
      {"a stored value without a norm", kStored, {}, true, true, true, {}, false, false, 2},
  };
  return cases;
}

// How dy comes.
enum class Arrival { stored, computed_from_sums, computed_from_floats, computed_and_stored };

// Channels in multiples of 16, tiles that the image does not fill, several tiles and chunks of channels.
const std::vector<ConvProblem>& problems() {
  static const std::vector<ConvProblem> list{
      // name                          N   H   W   C   O KH KW  stride padding groups
      {"3x3, 16 channels", 2, 9, 19, 16, 16, 3, 3, {1, 1, 1}},
      {"3x3, 32 channels", 1, 17, 7, 32, 32, 3, 3, {1, 1, 1}},
      {"3x3, 32 channels, wide", 1, 9, 19, 32, 32, 3, 3, {1, 1, 1}},
      {"3x3, 64 channels, small", 2, 7, 8, 64, 64, 3, 3, {1, 1, 1}},
      {"3x3, 64 channels, large", 1, 9, 17, 64, 64, 3, 3, {1, 1, 1}},
      {"3x3 stride 2", 2, 9, 20, 16, 32, 3, 3, {2, 1, 1}},
      {"3x3 stride 2, 64 outputs", 1, 18, 8, 32, 64, 3, 3, {2, 1, 1}},
      {"1x1 stride 2", 2, 9, 18, 16, 32, 1, 1, {2, 0, 1}},
      {"1x1, weights stay", 3, 10, 17, 64, 48, 1, 1, {1, 0, 1}},
      {"3x3, 96 channels, small", 2, 7, 8, 96, 48, 3, 3, {1, 1, 1}},
      {"48 channels", 1, 10, 9, 48, 48, 3, 3, {1, 1, 1}},
      {"80 channels in two blocks", 2, 5, 6, 80, 32, 3, 3, {1, 1, 1}},
      {"7x7 stride 2", 1, 13, 18, 16, 64, 7, 7, {2, 3, 1}},
      {"20x20, small tiles", 1, 13, 18, 16, 16, 20, 20, {1, 9, 1}},
      {"11x11", 1, 12, 13, 64, 16, 11, 11, {1, 5, 1}},
      {"2x2 stride 2 padding 1", 1, 9, 18, 32, 16, 2, 2, {2, 1, 1}},
      {"3x3 stride 3", 1, 17, 9, 16, 16, 3, 3, {3, 1, 1}},
      {"3x1", 1, 9, 7, 32, 16, 3, 1, {1, 0, 1}},
      {"2x5 stride 4", 1, 10, 21, 16, 16, 2, 5, {4, 1, 1}},
      {"3x3 stride cuts the edge", 1, 8, 10, 16, 32, 3, 3, {2, 0, 1}},
  };
  return list;
}

// dy on both sides: `rounded` is what is multiplied.
struct OutputGradient {
  Tensor rounded;
  cuda::ConvolutionOutputGradient device;

  OutputGradient(const Shape& shape, Arrival arrival, Philox& random) {
    const Tensor g = test::rounded(random_tensor(shape, DType::f32, random));
    if (arrival == Arrival::stored) {
      rounded = g;
      device.stored = to_device(g);
      return;
    }
    const bool sums = arrival != Arrival::computed_from_floats;
    const TestOperand x = random_operand(shape, {.sums = sums, .wide = true}, random);
    Tensor coefficients = random_tensor({shape[3], 3}, DType::f32, random);
    const Tensor floats = as_floats(g);
    Tensor dy(shape, DType::f32);
    for (size_t i = 0; i < dy.data<float>().size(); ++i) {
      const float* const own = coefficients.data<float>().data() + i % static_cast<size_t>(shape[3]) * 3;
      dy.data<float>()[i] = std::fma(floats.data<float>()[i], own[0], std::fma(x.raw.data<float>()[i], own[1], own[2]));
    }
    rounded = test::rounded(dy);
    device.computed = {to_device(g), x.device, to_device(coefficients)};
    if (arrival == Arrival::computed_and_stored) device.stored = device_tensor(shape, DType::bf16);
  }
};

struct Weights {
  Quantized host, device;

  Weights(const Shape& shape, Philox& random) {
    const LevelSet& levels = LevelSet::for_weights(LevelMethod::apot, 5);
    const Tensor w = random_tensor(shape, DType::f32, random);
    host = Quantized::like(w, levels, true);
    reference_kernels().quantize->quantize_weight(w, Tensor::scalar(1.9, DType::f32), host);
    check_all_levels(host, true);
    device = {to_device(host.codes), to_device(host.step), &levels};
  }
};

void check_problem(const ConvProblem& conv, const ValueCase& kind, Arrival arrival, uint64_t seed) {
  INFO(conv.text());
  CAPTURE(kind.name);
  CAPTURE(static_cast<int>(arrival));
  Philox random = random_numbers(seed);
  const Weights w(conv.w(), random);
  const OutputGradient gy(conv.y(), arrival, random);
  const ValueProblem problem(kind, conv.x(), random);
  check_data(problem.value, 0.3);
  Tensor g(conv.x(), DType::f32);
  reference_kernels().conv->conv2d_codes_backward_input(as_floats(gy.rounded), w.host, conv.geometry, g);
  const ExpectedValueGradient expected(problem, g);

  const auto run = [&](DType type, uint64_t orders) {
    cuda::ValueGradient gradient = problem.on_device(type);
    const auto launch = [&] {
      if (kind.in_place) gradient.other.copy_from({problem.other.raw(), problem.other.bytes()});
      cuda::ConvolutionOutputGradient device_gy = gy.device;
      if (arrival == Arrival::computed_and_stored)
        device_gy.stored.copy_from(std::vector<std::byte>(gy.rounded.bytes()));
      cuda::launch_input_gradient(device_gy, w.device, conv.geometry, gradient);
      std::vector<Tensor> results = written(gradient);
      if (device_gy.stored.defined()) CHECK(same_bits(device_gy.stored.on({}), gy.rounded));
      return results;
    };
    return same_in_every_order(launch, orders);
  };
  const std::vector<Tensor> actual = run(DType::f32, 2);
  CHECK(relative_difference(actual[0], expected.out) < 2e-6);
  check_sums(actual, expected, 5e-6);
  if (kind.in_place) return;
  const std::vector<Tensor> rounded_actual = run(DType::bf16, 1);
  CHECK(same_bits(rounded_actual[0], rounded(actual[0])));
  for (size_t i = 1; i < actual.size(); ++i) CHECK(same_bits(rounded_actual[i], actual[i]));
}

}  // namespace

TEST_CASE("cuda: the fused input gradient is the convolution's, through the value that was quantized") {
  cuda_device();
  constexpr Arrival kArrivals[] = {Arrival::computed_and_stored, Arrival::stored, Arrival::computed_from_floats,
                                   Arrival::computed_from_sums};
  const std::vector<ValueCase>& kinds = value_cases();
  for (size_t i = 0; i < problems().size(); ++i) {
    check_problem(problems()[i], kinds[i % kinds.size()], kArrivals[i % 4], 300 + i);
    check_problem(problems()[i], kinds[(i + 1) % kinds.size()], Arrival::computed_and_stored, 400 + i);
  }
  for (size_t i = 0; i < kinds.size(); ++i)
    for (const Arrival arrival : kArrivals) check_problem(problems()[0], kinds[i], arrival, 500 + i);
}

TEST_CASE("cuda: the fused input gradient of more output channels than a block stages at once") {
  cuda_device();
  check_problem({"3x3", 1, 5, 9, 64, 80, 3, 3, {1, 1, 1}}, value_cases()[1], Arrival::stored, 601);
  check_problem({"3x3 stride 2", 2, 7, 5, 16, 144, 3, 3, {2, 1, 1}}, value_cases()[0], Arrival::stored, 602);
  check_problem({"1x1", 1, 9, 7, 32, 192, 1, 1, {1, 0, 1}}, value_cases()[2], Arrival::stored, 603);
}

TEST_CASE("cuda: blocks of the fused input gradient go through several tiles each") {
  cuda_device();
  // At most 64 blocks share the tiles of 256 channels.
  check_problem({"weights stay", 65, 1, 1, 256, 16, 1, 1, {1, 0, 1}}, value_cases()[0], Arrival::computed_and_stored,
                611);
  // At most 256 share those of 16.
  check_problem({"3x3, weights stay", 65, 17, 17, 16, 16, 3, 3, {1, 1, 1}}, value_cases()[1],
                Arrival::computed_and_stored, 613);
  check_problem({"weights do not", 66, 1, 4, 256, 64, 1, 3, {1, 0, 1}}, value_cases()[0], Arrival::stored, 612);
}

TEST_CASE("cuda: fused input gradients that do not fit are refused") {
  cuda_device();
  Philox random = random_numbers(620);
  const ValueProblem problem({"norm", kSums}, {1, 6, 6, 16}, random);
  cuda::ValueGradient gradient = problem.on_device(DType::bf16);
  const auto launch = [&](int64_t outputs, int64_t size, bool computed) {
    const Weights w({outputs, 3, 3, 16}, random);
    const OutputGradient gy({1, size, size, outputs}, computed ? Arrival::computed_from_sums : Arrival::stored, random);
    cuda::launch_input_gradient(gy.device, w.device, {1, 1, 1}, gradient);
  };
  CHECK_NOTHROW(launch(64, 6, true));
  CHECK_THROWS_AS(launch(24, 6, true), Error);
  CHECK_THROWS_AS(launch(16, 5, true), Error);
  CHECK_THROWS_AS(launch(80, 6, true), Error);

  const Weights w({16, 41, 41, 16}, random);
  const OutputGradient gy({1, 6, 6, 16}, Arrival::stored, random);
  CHECK_THROWS_WITH_AS(
      cuda::launch_input_gradient(gy.device, w.device, {1, 20, 1}, gradient),
      doctest::Contains("a convolution [16, 41, 41, 16] padded by 20 does not fit the fused input gradient"), Error);
}
