// The lines of an integer network (core/kernels/codes.h) against the reference, every code and bit.
#include "core/kernels/codes.h"

#include <array>
#include <limits>

#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct Problem {
  int64_t n, h, w, c, o, kernel, stride, padding, groups = 1, spare = 0;  // spare: channels that nothing reads
};

// Odd images, tiles cut short, several images in a tile, channels in one chunk or more, one part of the outputs or
// several, and shapes for the plain loops.
const std::vector<Problem> kProblems{
    {1, 8, 8, 16, 16, 3, 1, 1},    {3, 9, 7, 16, 32, 3, 2, 1},       {2, 5, 19, 32, 16, 3, 1, 1},
    {3, 6, 6, 64, 64, 3, 1, 1},    {1, 10, 20, 64, 80, 3, 2, 1},     {5, 4, 4, 48, 24, 3, 1, 1},
    {3, 7, 7, 96, 64, 1, 1, 0},    {2, 9, 9, 128, 36, 1, 2, 0},      {33, 2, 2, 16, 16, 3, 1, 1},
    {70, 1, 1, 16, 16, 3, 1, 1},   {9, 4, 4, 32, 32, 3, 2, 1},       {1, 12, 12, 16, 16, 5, 1, 2},
    {2, 30, 30, 16, 16, 11, 2, 0}, {2, 6, 6, 12, 10, 3, 1, 1},       {2, 6, 5, 16, 16, 3, 1, 1, 16},
    {2, 6, 5, 24, 48, 3, 2, 1, 2}, {2, 5, 5, 24, 32, 3, 1, 1, 1, 8}, {1, 1, 1, 64, 16, 1, 1, 0},
};

int64_t outputs_of(int64_t size, const Problem& p) { return (size + 2 * p.padding - p.kernel) / p.stride + 1; }

// Every level of the set is hit, with a sign where asked.
Tensor random_codes(const Shape& shape, const LevelSet& levels, bool has_sign, Philox& random) {
  Tensor codes(shape, has_sign ? DType::s8 : DType::u8);
  for (int64_t i = 0; i < codes.elements(); ++i) {
    const auto code = static_cast<int>(levels.codes()[random.below(static_cast<uint32_t>(levels.codes().size()))]);
    codes.raw()[i] = static_cast<std::byte>(has_sign && random.below(2) ? -code : code);
  }
  return codes;
}

CodesConvolution random_convolution(const Problem& p, int bits, bool has_sign, Philox& random) {
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, has_sign ? bits - 1 : bits);
  const LevelSet& weights = LevelSet::for_weights(LevelMethod::apot, bits);
  return {random_codes({p.n, p.h, p.w, p.c + p.spare}, levels, has_sign, random),
          random_codes({p.o, p.kernel, p.kernel, p.c / p.groups}, weights, true, random),
          {.stride = p.stride, .padding = p.padding, .groups = p.groups}};
}

Tensor table_of(const LevelSet& levels) {
  Tensor table = Tensor::zeros({512}, DType::u8);
  for (int64_t m = 0; m <= 2 * levels.k(); ++m)
    table.data<uint8_t>()[static_cast<size_t>(m)] = static_cast<uint8_t>(levels.code_of_half_step(m));
  return table;
}

// A random line for each channel, and the thresholds that say the same: found by trying every sum.
ChannelThresholds random_thresholds(int64_t outputs, const LevelSet& levels, int32_t largest, Philox& random) {
  const auto count = static_cast<int64_t>(levels.codes().size()) - 1;
  ChannelThresholds t{.values = Tensor::full({outputs, count}, DType::s32, std::numeric_limits<int32_t>::max()),
                      .rising = Tensor({outputs}, DType::u8),
                      .levels = Tensor({count + 1}, DType::u8),
                      .factor = Tensor({outputs}, DType::f32),
                      .offset = Tensor({outputs}, DType::f32),
                      .table = table_of(levels),
                      .top = static_cast<int32_t>(2 * levels.k())};
  std::ranges::transform(levels.codes(), t.levels.data<uint8_t>().begin(),
                         [](int64_t code) { return static_cast<uint8_t>(code); });
  std::array<size_t, 256> level_of{};
  for (size_t i = 0; i < levels.codes().size(); ++i) level_of[static_cast<size_t>(levels.codes()[i])] = i;
  for (int64_t o = 0; o < outputs; ++o) {
    const auto channel = static_cast<size_t>(o);
    const bool rising = random.below(3) > 0;
    const auto top = static_cast<float>(t.top);
    const float factor = top / static_cast<float>(largest) * (rising ? 1.0f : -1.0f);
    const float offset = top * static_cast<float>(random.uniform());
    t.factor.data<float>()[channel] = factor;
    t.offset.data<float>()[channel] = offset;
    t.rising.data<uint8_t>()[channel] = rising;
    size_t reached = 0;
    for (int32_t sum = -largest - 2; sum <= largest + 2; ++sum) {  // beyond lie the first and the last level
      const float m = std::clamp(std::fma(static_cast<float>(sum), factor, offset), 0.0f, top);
      const uint8_t code = t.table.data<uint8_t>()[static_cast<size_t>(m)];
      const size_t level = level_of[code];
      for (const size_t now = rising ? level : static_cast<size_t>(count) - level; reached < now; ++reached)
        t.values.data<int32_t>()[channel * static_cast<size_t>(count) + reached] = sum;
    }
  }
  return t;
}

// Spare channels keep what they hold.
Tensor marked_codes(const Problem& p, int64_t channels, bool has_sign) {
  return Tensor::full({p.n, outputs_of(p.h, p), outputs_of(p.w, p), channels}, has_sign ? DType::s8 : DType::u8, 77);
}

}  // namespace

TEST_CASE("kernels of integer networks: codes to codes, by thresholds and by lines") {
  uint64_t seed = 700;
  for (const Problem& p : kProblems)
    for (const bool has_sign : {false, true}) {
      Philox random = random_numbers(++seed);
      const int bits = 2 + static_cast<int>(seed % 4);
      if (has_sign && bits == 2) continue;
      INFO(p.h, " high, ", p.c, " -> ", p.o, ", kernel ", p.kernel, ", ", bits, " bits, sign ", has_sign);
      const CodesConvolution convolution = random_convolution(p, bits, has_sign, random);
      const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, bits);
      const auto terms = static_cast<double>(p.kernel * p.kernel * p.c / p.groups);
      const auto largest = static_cast<int32_t>(20 * levels.k() * std::sqrt(terms));
      ChannelThresholds thresholds = random_thresholds(p.o, levels, largest, random);
      const int64_t channels = (p.o + 15) / 16 * 16;
      Tensor wanted = marked_codes(p, channels, false);
      reference_kernels().codes->convolve_to_codes(convolution, thresholds, wanted);
      check_data(wanted, 0.1);
      for (const Kernels* kernels : fast_backends())
        for (const bool lines : {true, false}) {
          if (!lines) thresholds.factor = thresholds.offset = thresholds.table = Tensor();
          Tensor codes = marked_codes(p, channels, false);
          kernels->codes->convolve_to_codes(convolution, thresholds, codes);
          CHECK(same_bits(codes, wanted));
        }
    }
}

namespace {

// What may follow a sum, in all its combinations: seven bits of `choice`.
struct Finish {
  ValueTerms terms;
  ValuesOutput out;

  Finish(const Problem& p, unsigned choice, float size, Philox& random) {
    const Shape shape{p.n, outputs_of(p.h, p), outputs_of(p.w, p), p.o};
    terms.step = 2 / size;
    terms.relu = (choice & 1) != 0;
    if (choice & 2) {
      terms.scale = random_tensor({p.o}, DType::f32, random);
      terms.shift = random_tensor({p.o}, DType::f32, random);
    }
    if (choice & 4) terms.shortcut = random_tensor(shape, DType::f32, random);
    if (choice & 8) out.values = Tensor(shape, DType::f32);
    for (const unsigned bit : {4u, 5u}) {
      if (!(choice >> bit & 1)) continue;
      const bool has_sign = bit == 5 && (choice & 64);
      const LevelSet& levels = LevelSet::for_activations(choice & 2 ? LevelMethod::apot : LevelMethod::uniform, 4);
      out.codes.push_back({static_cast<float>(0.5 + random.uniform()), static_cast<int32_t>(levels.k()), has_sign,
                           table_of(levels), marked_codes(p, (p.o + 15) / 16 * 16, has_sign)});
    }
  }
  ValuesOutput fresh() const {
    ValuesOutput copy{out.values.clone(), out.codes};
    for (CodesOutput& codes : copy.codes) codes.codes = codes.codes.clone();
    return copy;
  }
};

void check_same(const ValuesOutput& a, const ValuesOutput& b) {
  if (a.values.defined()) CHECK(same_bits(a.values, b.values));
  for (size_t i = 0; i < a.codes.size(); ++i) CHECK(same_bits(a.codes[i].codes, b.codes[i].codes));
}

}  // namespace

TEST_CASE("kernels of integer networks: codes to values") {
  unsigned choice = 0;
  for (const Problem& p : kProblems)
    for (const bool has_sign : {false, true}) {
      choice += 37;  // every combination in its turn
      Philox random = random_numbers(760 + choice);
      INFO(p.h, " high, ", p.c, " -> ", p.o, ", kernel ", p.kernel, ", ", choice % 128, ", sign ", has_sign);
      const CodesConvolution convolution = random_convolution(p, 4, has_sign, random);
      const auto size = static_cast<float>(400 * std::sqrt(static_cast<double>(p.kernel * p.kernel * p.c / p.groups)));
      const Finish finish(p, choice % 128, size, random);
      ValuesOutput wanted = finish.fresh();
      reference_kernels().codes->convolve_to_values(convolution, finish.terms, wanted);
      for (const CodesOutput& codes : wanted.codes) check_data(codes.codes, 0.1);
      for (const Kernels* kernels : fast_backends()) {
        ValuesOutput out = finish.fresh();
        kernels->codes->convolve_to_values(convolution, finish.terms, out);
        check_same(out, wanted);
      }
    }
}

TEST_CASE("kernels of integer networks: planes to values, with infinities and NaN") {
  for (unsigned choice = 0; choice < 128; ++choice) {
    CAPTURE(choice);
    Philox random = random_numbers(900 + choice);
    const Problem p{3, 5, 7, 0, choice % 3 ? 16 : 10, 1, 1, 0};
    const Finish finish(p, choice, 1, random);
    Tensor y = random_tensor({p.n, p.h, p.w, p.o}, DType::f32, random);
    y.data<float>()[3] = std::numeric_limits<float>::infinity();
    y.data<float>()[17] = -std::numeric_limits<float>::infinity();
    y.data<float>()[40] = std::numeric_limits<float>::quiet_NaN();
    ValuesOutput wanted = finish.fresh();
    reference_kernels().codes->plane_to_values(y, finish.terms, wanted);
    for (const Kernels* kernels : fast_backends()) {
      ValuesOutput out = finish.fresh();
      kernels->codes->plane_to_values(y, finish.terms, out);
      if (out.values.defined()) CHECK(doubles(out.values)[3] == doubles(wanted.values)[3]);
      for (size_t i = 0; i < out.codes.size(); ++i) CHECK(same_bits(out.codes[i].codes, wanted.codes[i].codes));
    }
  }
}
