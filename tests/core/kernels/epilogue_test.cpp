#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "core/base/isa.h"
#include "core/kernels/cpu/codes/epilogue.h"
#include "core/quant/level_set.h"
#include "core/quant/projection.h"

using namespace apotnet;

namespace {

std::vector<const Epilogues*> epilogues_of_this_machine() {
  std::vector<const Epilogues*> all{&generic_epilogues()};
#if defined(__x86_64__)
  if (processor_isa() >= Isa::avx2) all.push_back(&avx2_epilogues());
  if (processor_isa() >= Isa::vnni) all.push_back(&vnni_epilogues());
#endif
  return all;
}

const std::vector<const LevelSet*>& level_sets() {
  static const std::vector<const LevelSet*> sets{
      &LevelSet::for_activations(LevelMethod::apot, 2),    &LevelSet::for_activations(LevelMethod::apot, 3),
      &LevelSet::for_activations(LevelMethod::apot, 4),    &LevelSet::for_activations(LevelMethod::apot, 5),
      &LevelSet::for_activations(LevelMethod::uniform, 4), &LevelSet::for_activations(LevelMethod::uniform, 7),
      &LevelSet::for_activations(LevelMethod::uniform, 8)};
  return sets;
}

}  // namespace

TEST_CASE("kernels: float values and their codes have the same bits on every instruction set") {
  std::mt19937 random(30);
  std::normal_distribution<float> normal;
  for (int round = 0; round < 200; ++round) {
    const LevelSet& levels = *level_sets()[random() % level_sets().size()];
    const CodeTable table = make_code_table(levels);
    const int64_t channels = std::array{16, 32, 48, 64, 24, 5}[random() % 6], padded = (channels + 15) / 16 * 16;
    const int64_t pixels = 1 + static_cast<int64_t>(random() % 37), stride = channels + (random() % 3 == 0 ? 4 : 0);
    const auto size = static_cast<size_t>(pixels * channels);
    std::vector<int32_t> sums(static_cast<size_t>(pixels * padded));
    std::vector<float> y(sums.size()), scale(static_cast<size_t>(channels)), shift(scale.size()), shortcut(size);
    for (int32_t& sum : sums) sum = static_cast<int32_t>(random() % 4001) - 2000;
    for (auto* values : {&y, &scale, &shift, &shortcut})
      for (float& value : *values) value = normal(random);
    // Values just below a midpoint, where float32 may round 2 K z up to it.
    const bool near_midpoints = round % 4 == 0;
    if (near_midpoints)
      for (float& value : y)
        value = std::nextafter(static_cast<float>(1 + random() % static_cast<uint64_t>(2 * levels.k() - 1)) /
                                   static_cast<float>(2 * levels.k()),
                               0.0f);
    const bool from_sums = !near_midpoints && random() % 2 == 0, with_scale = !near_midpoints && random() % 4 != 0;
    const bool with_shortcut = !near_midpoints && random() % 2 == 0, relu = random() % 2 == 0;
    const int targets = static_cast<int>(random() % 3);

    std::vector<float> wanted_values;
    std::vector<uint8_t> wanted_codes[2];
    for (const Epilogues* epilogue : epilogues_of_this_machine()) {
      std::vector<float> values(size);
      std::vector<uint8_t> codes[2];
      ValuesEpilogue e{.sums = from_sums ? sums.data() : nullptr,
                       .y = y.data(),
                       .step = 0.0123f,
                       .pixels = pixels,
                       .channels = channels,
                       .padded_channels = padded,
                       .scale = with_scale ? scale.data() : nullptr,
                       .shift = shift.data(),
                       .shortcut = with_shortcut ? shortcut.data() : nullptr,
                       .relu = relu,
                       .values = values.data(),
                       .targets = {},
                       .target_count = targets};
      for (int t = 0; t < 2; ++t) {
        codes[t].assign(static_cast<size_t>(pixels * stride), 0);
        e.targets[t] = {t == 0 ? 2.7f : 1.0f, &table, codes[t].data(), stride};
      }
      epilogue->values(e);
      if (epilogue == &generic_epilogues()) {
        wanted_values = values;
        for (int t = 0; t < 2; ++t) wanted_codes[t] = codes[t];
        continue;
      }
      CHECK(values == wanted_values);
      CHECK(codes[0] == wanted_codes[0]);
      CHECK(codes[1] == wanted_codes[1]);
    }
  }
}

TEST_CASE("kernels: codes from sums by thresholds and by lines agree on every instruction set") {
  std::mt19937 random(31);
  for (const LevelSet* levels : level_sets()) {
    const CodeTable table = make_code_table(*levels);
    const int64_t channels = 32, pixels = 41, count = static_cast<int64_t>(levels->codes().size()) - 1;
    std::vector<float> factor(static_cast<size_t>(channels)), offset(factor.size());
    std::vector<int32_t> thresholds, sums(static_cast<size_t>(pixels * channels));
    std::vector<uint8_t> rising, codes_of_levels(levels->codes().begin(), levels->codes().end());
    for (int64_t c = 0; c < channels; ++c) {
      const bool up = random() % 3 != 0;
      factor[static_cast<size_t>(c)] = (up ? 1.0f : -1.0f) * static_cast<float>(levels->k()) / 173;
      offset[static_cast<size_t>(c)] = static_cast<float>(random() % 17) - 4.25f;
      rising.push_back(up);
      const auto level_of = [&](int32_t sum) {
        const float m =
            std::fma(static_cast<float>(sum), factor[static_cast<size_t>(c)], offset[static_cast<size_t>(c)]);
        return table.code[std::clamp(static_cast<int32_t>(m), 0, table.top)];
      };
      for (int64_t j = 0; j < count; ++j) {
        int32_t threshold = -4000;
        while (threshold < 4000 && (up ? level_of(threshold) < levels->codes()[static_cast<size_t>(j + 1)]
                                       : level_of(threshold) >= levels->codes()[static_cast<size_t>(count - j)]))
          ++threshold;
        thresholds.push_back(threshold);
      }
    }
    for (int32_t& sum : sums) sum = static_cast<int32_t>(random() % 2001) - 1000;
    std::vector<uint8_t> wanted;
    for (const Epilogues* epilogue : epilogues_of_this_machine())
      for (const bool lines : {false, true}) {
        std::vector<uint8_t> codes(sums.size());
        epilogue->codes({sums.data(), pixels, channels, channels, thresholds.data(), rising.data(),
                         codes_of_levels.data(), count + 1, lines ? factor.data() : nullptr, offset.data(), &table,
                         codes.data(), channels});
        if (wanted.empty()) wanted = codes;
        CHECK(codes == wanted);
      }
    CHECK(std::ranges::count(wanted, uint8_t{0}) < static_cast<int64_t>(wanted.size()) * 3 / 4);
  }
}
