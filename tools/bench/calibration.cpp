#include "tools/bench/calibration.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/base/isa.h"
#include "tools/bench/calibration_loops.h"

namespace apotnet {
namespace {

#if defined(__x86_64__)
// The fastest slice: a neighbour or an interrupt only ever takes speed away.
double fastest(const CalibrationLoop& loop, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kRounds = 1 << 17;  // under a millisecond
  [[maybe_unused]] static volatile float sink;
  double best = 0;
  const auto start = Clock::now();
  const std::chrono::duration<double> budget(seconds);
  do {
    const auto before = Clock::now();
    sink = loop.run(kRounds);
    const std::chrono::duration<double> taken = Clock::now() - before;
    best = std::max(best, loop.products_per_round * kRounds / taken.count());
  } while (Clock::now() - start < budget);
  return best * 1e-9;
}
#endif

std::optional<double> mean_of(const std::optional<double>& a, const std::optional<double>& b) {
  return a && b ? std::optional((*a + *b) / 2) : std::nullopt;
}

nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace

Peaks measure_peaks([[maybe_unused]] double seconds) {
  Peaks peaks;
#if defined(__x86_64__)
  if (selected_isa() >= Isa::avx2) {
    peaks.fma = fastest(fma_loop_avx2(), seconds);
    peaks.maddubs = fastest(maddubs_loop_avx2(), seconds);
  }
  if (selected_isa() >= Isa::vnni) peaks.vnni = fastest(dpbusd_loop_vnni(), seconds);
#endif
  return peaks;
}

Peaks mean_of(const Peaks& before, const Peaks& after) {
  return {mean_of(before.fma, after.fma), mean_of(before.maddubs, after.maddubs), mean_of(before.vnni, after.vnni)};
}

void add_peaks(nlohmann::ordered_json& line, const Peaks& peaks) {
  line["fma_gmacs"] = or_null(peaks.fma);
  line["maddubs_gmacs"] = or_null(peaks.maddubs);
  line["vnni_gmacs"] = or_null(peaks.vnni);
}

}  // namespace apotnet
