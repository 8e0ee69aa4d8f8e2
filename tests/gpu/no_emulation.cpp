// The tests of the emulated device on a real one: what they ask of the emulation alone is answered as nothing, and
// without a device they are skipped as a whole.
#include <cstdio>
#include <cstdlib>

#include "core/base/error.h"
#include "core/kernels/accelerator.h"
#include "tests/emulation/block.h"
#include "tests/emulation/runtime.h"

namespace emulation {

void seed(uint64_t) {}
size_t allocation_count() { return 0; }
void set_idle(bool) {}

}  // namespace emulation

namespace {

// Before doctest's own main().
[[maybe_unused]] const bool has_device = [] {
  try {
    apotnet::cuda_device();
  } catch (const apotnet::Error& error) {
    std::printf("skipped: %s\n", error.what());
    std::exit(0);
  }
  return true;
}();

}  // namespace
