#include "core/kernels/cpu/winograd_f32.h"

#include "core/base/isa.h"
#include "tests/support/backends.h"
#include "tests/support/conv_problems.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Of the largest output, or of one product where a few outputs cancel.
constexpr double kTolerance = 1e-5;

const std::vector<const WinogradKernels*>& all_kernels() {
  static const std::vector<const WinogradKernels*> kernels = [] {
    std::vector<const WinogradKernels*> found{&generic_winograd()};
#if defined(__x86_64__)
    if (processor_isa() >= Isa::avx2) found.push_back(&avx2_winograd());
    if (processor_isa() >= Isa::avx512) found.push_back(&avx512_winograd());
#endif
    return found;
  }();
  return kernels;
}

ConvProblem problem(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t outputs) {
  return {"winograd", images, height, width, channels, outputs, 3, 3, {1, 1, 1}};
}

// The smallest images, cut tiles, more than one chunk with a smaller last one, channels of every register block.
std::vector<ConvProblem> winograd_problems() {
  std::vector<ConvProblem> problems{problem(1, 1, 1, 8, 8),     problem(3, 1, 9, 16, 32),  problem(70, 2, 1, 8, 16),
                                    problem(9, 32, 32, 16, 16), problem(40, 8, 8, 32, 16), problem(2, 13, 7, 48, 80)};
  Philox random = random_numbers(131);
  const auto between = [&](uint32_t low, uint32_t high) { return int64_t{low} + random.below(high - low + 1); };
  while (problems.size() < 240) {
    const int64_t images = random.below(4) ? between(1, 4) : between(33, 70);
    const int64_t channel_unit = random.below(2) ? 16 : 8;  // half of them fit the widest vectors
    const ConvProblem p = problem(images, between(1, 15), between(1, 15), channel_unit * between(1, 80 / channel_unit),
                                  channel_unit * between(1, 80 / channel_unit));
    if (p.y().elements() * p.channels * 9 <= 1500000) problems.push_back(p);
  }
  return problems;
}

WinogradShape shape_of(const ConvProblem& p) { return {p.images, p.height, p.width, p.channels, p.outputs}; }

void check_close(const Tensor& fast, const Tensor& plain) {
  const std::vector<double> a = doubles(fast), b = doubles(plain);
  double largest = 1, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    difference = std::isnan(a[i]) ? INFINITY : std::max(difference, std::abs(a[i] - b[i]));
  }
  CHECK(difference <= kTolerance * largest);
}

// x as codes 0 .. K, and the same as float values
Quantized random_codes(const Shape& shape, Philox& random) {
  const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, 4);
  Quantized q = Quantized::like(Tensor(shape, DType::f32), levels, false);
  q.step.fill(1.7 / static_cast<double>(levels.k()));
  for (uint8_t& code : q.codes.data<uint8_t>())
    code = static_cast<uint8_t>(levels.codes()[random.below(static_cast<uint32_t>(levels.codes().size()))]);
  return q;
}

struct Operands {
  Tensor gy, w, x;
  Quantized codes;

  Operands(const ConvProblem& p, Philox& random)
      : gy(random_tensor(p.y(), DType::f32, random)),
        w(random_tensor(p.w(), DType::f32, random)),
        x(random_tensor(p.x(), DType::f32, random)),
        codes(random_codes(p.x(), random)) {
    check_data(gy), check_data(w), check_data(x);
  }
};

// gx, gw of x, gw of the codes
std::vector<Tensor> backward(const ConvKernels& kernels, const ConvProblem& p, const Operands& in) {
  std::vector<Tensor> out{Tensor(p.x(), DType::f32), Tensor(p.w(), DType::f32), Tensor(p.w(), DType::f32)};
  kernels.conv2d_backward_input(in.gy, in.w, p.geometry, out[0]);
  kernels.conv2d_backward_weight(in.gy, in.x, p.geometry, out[1]);
  kernels.conv2d_codes_backward_weight(in.gy, in.codes, p.geometry, out[2]);
  return out;
}

std::vector<Tensor> backward(const WinogradKernels& kernels, const ConvProblem& p, const Operands& in) {
  std::vector<Tensor> out{Tensor(p.x(), DType::f32), Tensor(p.w(), DType::f32), Tensor(p.w(), DType::f32)};
  for (Tensor& tensor : out) tensor.fill(NAN);  // what is not written shows
  const float* gy = in.gy.data<float>().data();
  winograd_backward_input(kernels, shape_of(p), gy, in.w.data<float>().data(), out[0].data<float>().data());
  winograd_backward_weight(kernels, shape_of(p), gy, in.x.data<float>().data(), out[1].data<float>().data());
  winograd_backward_weight(kernels, shape_of(p), gy, in.codes.codes.data<uint8_t>().data(),
                           in.codes.step.data<float>()[0], out[2].data<float>().data());
  return out;
}

}  // namespace

TEST_CASE("kernels: winograd's backward passes equal the reference up to rounding on every processor level") {
  Philox random = random_numbers(132);
  for (const ConvProblem& p : winograd_problems()) {
    INFO(p.text());
    const Operands in(p, random);
    const std::vector<Tensor> plain = backward(*reference_kernels().conv, p, in);
    for (const WinogradKernels* kernels : all_kernels()) {
      if (p.channels % kernels->lanes != 0 || p.outputs % kernels->lanes != 0) continue;
      CAPTURE(kernels->name);
      const auto fast = same_for_all_thread_counts([&] { return backward(*kernels, p, in); });
      for (size_t i = 0; i < fast.size(); ++i) check_close(fast[i], plain[i]);
    }
  }
}

TEST_CASE("kernels: convolutions that winograd takes over equal the reference") {
  Philox random = random_numbers(133);
  for (const ConvProblem& p : {problem(7, 8, 8, 64, 64), problem(12, 6, 11, 24, 40), problem(3, 16, 16, 16, 8)}) {
    INFO(p.text());
    REQUIRE(winograd_pays(shape_of(p)));
    const Operands in(p, random);
    const std::vector<Tensor> plain = backward(*reference_kernels().conv, p, in);
    const auto fast = same_for_all_thread_counts([&] { return backward(*cpu_kernels().conv, p, in); });
    for (size_t i = 0; i < fast.size(); ++i) check_close(fast[i], plain[i]);
  }
}

TEST_CASE("kernels: winograd takes the widest vectors that fit, only multiples of 8 channels and mostly whole tiles") {
  CHECK(winograd_kernels(12, 16) == nullptr);
  CHECK(winograd_kernels(16, 4) == nullptr);
  for (const int64_t channels : {8, 16, 24, 64}) {
    const WinogradKernels* widest = &generic_winograd();
    for (const WinogradKernels* kernels : all_kernels())
      if (channels % kernels->lanes == 0 && selected_isa() != Isa::generic &&
          (selected_isa() >= Isa::avx512 || kernels->lanes <= 8))
        widest = kernels;
    CHECK(winograd_kernels(channels, 64) == widest);
    CHECK(winograd_kernels(64, channels) == widest);
  }
  CHECK(winograd_pays({128, 7, 7, 64, 64}));
  CHECK_FALSE(winograd_pays({128, 5, 5, 64, 64}));
  CHECK_FALSE(winograd_pays({1, 8, 8, 64, 64}));
}
