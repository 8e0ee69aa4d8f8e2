#pragma once

#include <cstdint>

namespace apotnet {

/// A loop of independent chains of one instruction, enough of them to hide its latency. The result only keeps the
/// compiler from leaving the work out.
struct CalibrationLoop {
  double products_per_round;
  float (*run)(int64_t rounds);
};

/// These exist on x86-64 only.
CalibrationLoop fma_loop_avx2();
CalibrationLoop maddubs_loop_avx2();
CalibrationLoop dpbusd_loop_vnni();

}  // namespace apotnet
