#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "core/kernels/cpu/codes/codes_conv.h"
#include "core/kernels/cpu/codes/packed_weights.h"
#include "core/quant/level_set.h"
#include "core/tensor/buffer.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct Problem {
  CodesConvShape shape;
  std::vector<int8_t> weights;
  std::vector<uint8_t> image;
  std::vector<int64_t> levels;

  CodesConvOperands operands() const { return {weights, levels}; }
  int64_t values() const { return shape.output_h() * shape.output_w() * shape.padded_outputs(); }
};

// Codes that use all levels of the set.
Problem random_problem(const CodesConvShape& shape, const LevelSet& weights, const LevelSet& activations,
                       std::mt19937& random) {
  Problem problem{shape, {}, {}, {activations.codes().begin(), activations.codes().end()}};
  problem.weights.resize(
      static_cast<size_t>(shape.outputs * shape.kernel_h * shape.kernel_w * shape.channels / shape.groups));
  problem.image.resize(static_cast<size_t>(shape.height * shape.width * shape.channels));
  for (int8_t& w : problem.weights)
    w = static_cast<int8_t>(weights.codes()[random() % weights.codes().size()] * (random() % 2 == 0 ? 1 : -1));
  for (uint8_t& x : problem.image) x = static_cast<uint8_t>(activations.codes()[random() % activations.codes().size()]);
  return problem;
}

// Sums of the real outputs, computed `rows` rows at a time.
std::vector<int32_t> sums_of(const CodesConv& conv, const Problem& problem, int64_t rows) {
  const CodeFrame layout(problem.shape);
  const auto frame = Buffer::allocate(static_cast<size_t>(layout.bytes()), {});
  layout.clear(frame->data());
  layout.fill(problem.image.data(), problem.shape.channels, reinterpret_cast<uint8_t*>(frame->data()));
  const auto scratch = Buffer::allocate(static_cast<size_t>(conv.scratch_bytes()), {});
  std::vector<int32_t> padded(static_cast<size_t>(problem.values())), sums;
  const int64_t row = problem.shape.output_w() * problem.shape.padded_outputs();
  for (int64_t y = 0; y < problem.shape.output_h(); y += rows)
    conv.sums(reinterpret_cast<const uint8_t*>(frame->data()), y, std::min(rows, problem.shape.output_h() - y),
              padded.data() + y * row, scratch->data());
  for (size_t i = 0; i < padded.size(); ++i)
    if (static_cast<int64_t>(i) % problem.shape.padded_outputs() < problem.shape.outputs) sums.push_back(padded[i]);
  return sums;
}

const CodesConvKernel& kernel_named(const std::string& name) {
  return *std::ranges::find(codes_conv_kernels(), name, &CodesConvKernel::name);
}

// Compares every kernel that fits with the plain loop; returns how many did.
int check_all_kernels(const Problem& problem) {
  const auto plain = kernel_named("plain").make(problem.shape, problem.operands());
  const std::vector<int32_t> wanted = sums_of(*plain, problem, problem.shape.output_h());
  int checked = 0;
  for (const CodesConvKernel& kernel : codes_conv_kernels()) {
    if (kernel.isa > processor_isa() || kernel.name == "plain" || (problem.shape.groups > 1 && !kernel.groups))
      continue;
    const auto conv = kernel.make(problem.shape, problem.operands());
    if (!conv) continue;
    const CodesConvShape& s = problem.shape;
    INFO(conv->name(), " ", s.kernel_h, "x", s.kernel_w, " stride ", s.stride, " padding ", s.padding, ": ", s.height,
         " x ", s.width, " x ", s.channels, " -> ", s.outputs);
    CHECK(sums_of(*conv, problem, problem.shape.output_h()) == wanted);
    CHECK(sums_of(*conv, problem, conv->row_step()) == wanted);
    ++checked;
  }
  return checked;
}

// A 1x1 convolution of one pixel whose first output sums `count` products of the largest codes in one 16-bit lane.
Problem lane_problem(int64_t pairs, uint8_t activation, int8_t weight, uint8_t last_activation_weight) {
  Problem problem{{1, 1, 4 * pairs, 1, 1, 16, 1, 0}, {}, {}, {0, activation}};
  problem.weights.assign(static_cast<size_t>(16 * 4 * pairs), 0);
  problem.image.assign(static_cast<size_t>(4 * pairs), activation);
  for (int64_t i = 0; i < pairs; ++i) problem.weights[static_cast<size_t>(4 * i)] = weight;
  problem.weights[1] = static_cast<int8_t>(last_activation_weight);
  return problem;
}

}  // namespace

TEST_CASE("kernels: every convolution of codes equals the plain loop over 240 random shapes") {
  std::mt19937 random(20);
  const auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[random() % values.size()]; };
  int compared = 0;
  for (int i = 0; i < 240; ++i) {
    const int bits = 2 + i % 4;
    const int64_t kernel = pick({1, 3, 3, 3, 5});
    const CodesConvShape shape{.height = 5 + pick({0, 1, 2, 3, 4, 7, 11}),
                               .width = 5 + pick({0, 1, 2, 3, 4, 7, 11, 13}),
                               .channels = pick({1, 3, 4, 5, 16, 20, 32, 48, 64}),
                               .kernel_h = kernel,
                               .kernel_w = kernel,
                               .outputs = pick({1, 7, 16, 24, 32, 33, 48, 64}),
                               .stride = pick({1, 1, 1, 2}),
                               .padding = kernel == 1 ? 0 : pick({0, 1, 1})};
    compared += check_all_kernels(random_problem(shape, LevelSet::for_weights(LevelMethod::apot, bits),
                                                 LevelSet::for_activations(LevelMethod::apot, bits), random));
  }
  CHECK(compared >= 240);
}

TEST_CASE("kernels: convolutions of each channel by itself equal the plain loop, which equals one group for each") {
  std::mt19937 random(23);
  int compared = 0;
  for (const int64_t channels : {1, 3, 16, 24, 33, 96})
    for (const int64_t stride : {1, 2})
      for (const int64_t kernel : {1, 3, 5}) {
        const CodesConvShape shape{7, 9, channels, kernel, kernel, channels, stride, kernel / 2, channels};
        const Problem problem = random_problem(shape, LevelSet::for_weights(LevelMethod::apot, 5),
                                               LevelSet::for_activations(LevelMethod::apot, 5), random);
        compared += check_all_kernels(problem);
        const auto sums = sums_of(*kernel_named("plain").make(shape, problem.operands()), problem, shape.output_h());
        for (int64_t c = 0; c < channels; ++c) {
          Problem alone = problem;
          alone.shape.channels = alone.shape.outputs = alone.shape.groups = 1;
          const int64_t window = kernel * kernel;
          alone.weights.assign(problem.weights.begin() + c * window, problem.weights.begin() + (c + 1) * window);
          alone.image.clear();
          for (size_t i = static_cast<size_t>(c); i < problem.image.size(); i += static_cast<size_t>(channels))
            alone.image.push_back(problem.image[i]);
          const auto wanted = sums_of(*kernel_named("plain").make(alone.shape, alone.operands()), alone, 1);
          for (size_t i = 0; i < wanted.size(); ++i)
            REQUIRE(sums[i * static_cast<size_t>(channels) + static_cast<size_t>(c)] == wanted[i]);
        }
      }
  CHECK(compared >= 36);
}

TEST_CASE("kernels: signed codes, stored with K added, give the sums of the codes") {
  std::mt19937 random(24);
  for (const int bits : {2, 3, 4, 5})
    for (const int64_t padding : {0, 1}) {
      const LevelSet& levels = LevelSet::for_weights(LevelMethod::apot, bits);
      const Shape xs{1, 8, 7, 20}, ws{18, 3, 3, 20};
      Quantized x = Quantized::like(Tensor(xs, DType::f32), levels, true),
                w = Quantized::like(Tensor(ws, DType::f32), levels, true);
      for (const Quantized* codes : {&x, &w})
        for (int8_t& code : Tensor(codes->codes).data<int8_t>())
          code = static_cast<int8_t>(levels.codes()[random() % levels.codes().size()] * (random() % 2 == 0 ? 1 : -1));
      x.step.fill(1), w.step.fill(1);
      const Conv2dGeometry geometry{1, padding, 1};
      Tensor wanted({1, geometry.output_size(8, 3), geometry.output_size(7, 3), 18}, DType::f32);
      reference_kernels().conv->conv2d_codes(x, w, geometry, wanted);
      check_data(wanted);
      Tensor y(wanted.shape(), DType::f32);
      cpu_kernels().conv->conv2d_codes(x, w, geometry, y);
      CHECK(same_bits(y, wanted));
    }
}

TEST_CASE("kernels: convolutions of codes at one pixel, one channel, and the shapes of the CIFAR ResNets") {
  std::mt19937 random(21);
  for (const int bits : {2, 3, 4, 5})
    for (const CodesConvShape& shape :
         {CodesConvShape{1, 1, 1, 1, 1, 1, 1, 0}, CodesConvShape{1, 1, 32, 3, 3, 32, 1, 1},
          CodesConvShape{32, 32, 16, 3, 3, 16, 1, 1}, CodesConvShape{32, 32, 16, 3, 3, 32, 2, 1},
          CodesConvShape{16, 16, 32, 3, 3, 32, 1, 1}, CodesConvShape{16, 16, 32, 1, 1, 64, 2, 0},
          CodesConvShape{8, 8, 64, 3, 3, 64, 1, 1}})
      for (const LevelMethod method : {LevelMethod::apot, LevelMethod::uniform})
        check_all_kernels(random_problem(shape, LevelSet::for_weights(method, bits),
                                         LevelSet::for_activations(method, bits), random));
}

TEST_CASE("kernels: 8-bit uniform codes, whose pairs of products saturate 16 bits, are left to exact kernels") {
  std::mt19937 random(22);
  const Problem problem = random_problem({9, 9, 32, 3, 3, 16, 1, 1}, LevelSet::for_weights(LevelMethod::uniform, 8),
                                         LevelSet::for_activations(LevelMethod::uniform, 8), random);
  check_all_kernels(problem);
  if (processor_isa() >= Isa::avx2) CHECK_FALSE(kernel_named("direct16").make(problem.shape, problem.operands()));
}

TEST_CASE("kernels: the certificate of 16-bit sums at its boundary, from both sides") {
  if (processor_isa() < Isa::avx2) return;
  const auto name_of_conv = [](const Problem& problem) {
    return kernel_named("direct16").make(problem.shape, problem.operands())->name();
  };
  // 31 * 7 * 151 = 32,767 in one lane: 151 = 30 pairs of weight 5 and one weight 1, all activations 217 = 31 * 7.
  const Problem fits = lane_problem(30, 217, 5, 1);
  CHECK(sums_of(*kernel_named("plain").make(fits.shape, fits.operands()), fits, 1)[0] == 32767);
  CHECK(name_of_conv(fits) == "direct16");
  CHECK(check_all_kernels(fits) >= 2);
  // 128 * 256 = 32,768: one more than fits, so it is widened.
  const Problem over = lane_problem(64, 128, 4, 0);
  CHECK(sums_of(*kernel_named("plain").make(over.shape, over.operands()), over, 1)[0] == 32768);
  CHECK(name_of_conv(over) == "direct16-widened");
  CHECK(check_all_kernels(over) >= 2);
  // -32,768 itself fits.
  const Problem negative = lane_problem(64, 128, -4, 0);
  CHECK(sums_of(*kernel_named("plain").make(negative.shape, negative.operands()), negative, 1)[0] == -32768);
  CHECK(name_of_conv(negative) == "direct16");
  CHECK(check_all_kernels(negative) >= 2);
}

TEST_CASE("kernels: a convolution of codes is forced by its name") {
  std::mt19937 random(23);
  const Problem problem = random_problem({6, 6, 32, 3, 3, 32, 1, 1}, LevelSet::for_weights(LevelMethod::apot, 3),
                                         LevelSet::for_activations(LevelMethod::apot, 3), random);
  force_codes_conv("portable");
  CHECK(make_codes_conv(problem.shape, problem.operands())->name() == "portable");
  force_codes_conv("");
  CHECK_THROWS_WITH(force_codes_conv("none"), doctest::Contains("no convolution kernel is called none; known are"));
}
