#pragma once

#include <functional>
#include <vector>

#include "core/base/parallel.h"
#include "core/kernels/kernels.h"
#include "tests/support/check_data.h"
#include "tests/support/device_backend.h"

namespace apotnet::test {

/// The back ends that are compared with the reference: those of the CPU, or in a test program of the device the CUDA
/// kernels alone.
inline std::vector<const Kernels*> fast_backends() {
#ifdef APOTNET_DEVICE_TESTS
  return {&device_kernels_on_copies()};
#else
  return {&cpu_kernels()};
#endif
}

/// Computes with 1, 2 and 3 threads, fails the test unless all bits agree, and returns the results.
inline std::vector<Tensor> same_for_all_thread_counts(const std::function<std::vector<Tensor>()>& compute) {
  std::vector<Tensor> results;
  for (const int threads : {1, 2, 3}) {
    CAPTURE(threads);
    set_thread_count(threads);
    std::vector<Tensor> now = compute();
    set_thread_count(1);
    if (results.empty()) results = now;
    for (size_t i = 0; i < now.size(); ++i) {
      CAPTURE(i);
      REQUIRE(same_bits(now[i], results[i]));
    }
  }
  return results;
}

}  // namespace apotnet::test
