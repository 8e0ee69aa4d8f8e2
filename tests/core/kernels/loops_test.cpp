#include "core/kernels/cpu/loops.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "core/quant/level_set.h"
#include "core/quant/projection.h"
#include "tests/support/check_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const std::vector<int64_t> kSizes{0, 1, 7, 8, 9, 31, 255, 256, 257, 1000};

std::vector<float> random_floats(int64_t size, Philox& random) {
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

// Every loop's results for vectors of `size` elements, seen as bytes.
std::vector<std::vector<double>> run_all(const Loops& loops, int64_t size, int64_t channels) {
  Philox random = random_numbers(121);
  const int64_t n = size * channels;
  const std::vector<float> x = random_floats(n, random), g = random_floats(n, random);
  const std::vector<float> a = random_floats(channels, random), b = random_floats(channels, random),
                           c = random_floats(channels, random);
  const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, 4);
  std::vector<int32_t> integers;
  for (const float value : x) integers.push_back(static_cast<int32_t>(value * 1e5f));
  std::vector<uint8_t> codes(x.size());
  std::vector<std::vector<double>> results;
  std::vector<float> y(x.size());
  const auto keep = [&] { results.emplace_back(y.begin(), y.end()); };
  loops.relu(n, x.data(), y.data()), keep();
  loops.relu_backward(n, g.data(), x.data(), y.data()), keep();
  loops.add(n, x.data(), g.data(), y.data()), keep();
  loops.scale(n, x.data(), 0.3f, y.data()), keep();
  loops.scale_sums(n, integers.data(), 0.3f, y.data()), keep();
  loops.scale_shift(size, channels, x.data(), a.data(), b.data(), y.data()), keep();
  loops.norm_gradient(size, channels, g.data(), x.data(), a.data(), b.data(), c.data(), y.data()), keep();

  const auto k = static_cast<int32_t>(levels.k());
  std::vector<uint8_t> table(Loops::kTableSize), wide_codes(x.size());
  std::ranges::transform(levels.half_step_table(), table.begin(),
                         [](int16_t code) { return static_cast<uint8_t>(code); });
  loops.quantize_wide(n, x.data(), 1.1f, k, levels.half_step_table().data(), wide_codes.data());
  loops.norm_relu_quantize(size, channels, x.data(), a.data(), b.data(), 1.1f, k, table.data(), codes.data());
  results.emplace_back(codes.begin(), codes.end());
  std::vector<int8_t> signed_codes(x.size());
  loops.quantize_signed(n, x.data(), 1.1f, k, false, table.data(), signed_codes.data());
  results.emplace_back(signed_codes.begin(), signed_codes.end());
  results.push_back(
      {loops.quantize_signed_gradient(n, g.data(), x.data(), signed_codes.data(), 1.1f, k, true, y.data())});
  keep();
  loops.quantize(n, x.data(), 1.1f, k, table.data(), codes.data());
  results.emplace_back(codes.begin(), codes.end());
  CHECK(codes == wide_codes);
  loops.decode(n, codes.data(), 0.3f, y.data()), keep();
  for (const bool clips_below : {false, true}) {
    results.push_back({loops.quantize_gradient(n, g.data(), x.data(), codes.data(), 1.1f, k, clips_below,
                                               /*adds=*/clips_below, y.data())});
    keep();
  }
  std::vector<double> sum(static_cast<size_t>(channels)), squares(sum);
  loops.channel_sums(size, channels, x.data(), sum.data(), squares.data());
  results.push_back(sum), results.push_back(squares);
  loops.gradient_sums(size, channels, g.data(), x.data(), a.data(), sum.data(), squares.data());
  results.push_back(sum), results.push_back(squares);

  const auto sums = [&] { results.push_back(sum), results.push_back(squares); };
  loops.norm_relu_sums(size, channels, g.data(), x.data(), a.data(), b.data(), c.data(), sum.data(), squares.data());
  sums();
  results.push_back({loops.norm_relu_quantize_sums(size, channels, g.data(), x.data(), codes.data(), a.data(), b.data(),
                                                   c.data(), 1.1f, k, sum.data(), squares.data())});
  sums();
  y = g;
  loops.norm_relu_gradient(size, channels, x.data(), a.data(), b.data(), 0.8f, a.data(), b.data(), c.data(), y.data());
  keep();
  y = g;
  loops.relu_sums(size, channels, x.data(), g.data(), a.data(), y.data(), sum.data(), squares.data()), sums(), keep();
  loops.norm_relu(size, channels, x.data(), a.data(), b.data(), y.data()), keep();
  loops.norm_add_relu(size, channels, x.data(), a.data(), b.data(), g.data(), y.data()), keep();
  results.push_back({loops.sum(n, x.data()), loops.sum_of_squares(n, x.data(), 0.1), loops.dot(n, x.data(), g.data())});
  loops.standardize(n, x.data(), 0.1f, 0.7f, y.data()), keep();
  loops.standardize_gradient(n, g.data(), x.data(), 0.1, 0.2, 0.7, y.data()), keep();

  std::vector<float> p = x, velocity = g;
  loops.sgd(n, y.data(), 0.1f, 0.9f, 1e-4f, p.data(), velocity.data());
  results.emplace_back(p.begin(), p.end()), results.emplace_back(velocity.begin(), velocity.end());
  return results;
}

}  // namespace

TEST_CASE("loops: the vector loops give the bits of the portable ones, sums included") {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
  for (const int64_t size : kSizes)
    for (const int64_t channels : {1, 3, 16, 19}) {
      CAPTURE(size);
      CAPTURE(channels);
      CHECK(run_all(*avx2_loops(), size, channels) == run_all(generic_loops(), size, channels));
    }
#endif
}

TEST_CASE("loops: values next to a midpoint take the level of the exact product, as half_steps has it") {
  const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, 4);
  const auto k = static_cast<int32_t>(levels.k());
  std::vector<float> z;
  for (int32_t m = 1; m < 2 * k; ++m)
    for (const float toward : {0.0f, 1.0f}) {
      const float middle = static_cast<float>(m) / static_cast<float>(2 * k);
      z.insert(z.end(), {middle, std::nextafter(middle, toward)});
    }
  std::vector<uint8_t> table(Loops::kTableSize), codes(z.size()), expected;
  std::ranges::transform(levels.half_step_table(), table.begin(),
                         [](int16_t code) { return static_cast<uint8_t>(code); });
  int lowered = 0;  // where float32 rounds 2 K z up to a midpoint
  for (const float value : z) {
    const int32_t m = half_steps(value, k, false);
    expected.push_back(table[static_cast<size_t>(m)]);
    lowered += table[static_cast<size_t>(value * static_cast<float>(2 * k))] != expected.back();
  }
  CHECK(lowered > 3);
  const auto count = static_cast<int64_t>(z.size());
  for (const Loops* loops : {&generic_loops(), &apotnet::loops()}) {
    CAPTURE(loops->name);
    loops->quantize(count, z.data(), 1.0f, k, table.data(), codes.data());
    CHECK(codes == expected);
    loops->quantize_wide(count, z.data(), 1.0f, k, levels.half_step_table().data(), codes.data());
    CHECK(codes == expected);
    std::vector<int8_t> signed_codes(z.size());
    loops->quantize_signed(count, z.data(), 1.0f, k, false, table.data(), signed_codes.data());
    CHECK(std::ranges::equal(signed_codes, expected));
    const std::vector<float> ones(z.size(), 1.0f), zeros(z.size(), 0.0f);
    loops->norm_relu_quantize(1, count, z.data(), ones.data(), zeros.data(), 1.0f, k, table.data(), codes.data());
    CHECK(codes == expected);
  }
}

TEST_CASE("loops: the right ones are chosen, and APOTNET_ISA=generic forces the portable ones") {
  const char* forced = std::getenv("APOTNET_ISA");
  CHECK(std::string_view(generic_loops().name) == "generic");
  if (forced && std::string_view(forced) == "generic") CHECK(&loops() == &generic_loops());
#if defined(__x86_64__)
  else if (__builtin_cpu_supports("avx2"))
    CHECK(&loops() == avx2_loops());
#endif
}
