// The tests of the emulated device on a real one: what they ask of the emulation alone is answered as nothing, and
// without a device they are skipped as a whole.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <string_view>

#include "core/base/error.h"
#include "core/kernels/accelerator.h"
#include "tests/emulation/block.h"
#include "tests/emulation/runtime.h"

namespace emulation {

void seed(uint64_t) {}
size_t allocation_count() { return 0; }
void set_idle(bool) {}
void set_multiprocessors(int) {}

}  // namespace emulation

int main(int argc, char** argv) {
  doctest::Context tests(argc, argv);
  const std::span<char*> words(argv, static_cast<size_t>(argc));
  if (std::ranges::any_of(words, [](const char* word) { return std::string_view(word).starts_with("--list"); }))
    return tests.run();
  try {
    apotnet::cuda_device();
  } catch (const apotnet::Error& error) {
    std::printf("skipped: %s\n", error.what());
    return error.category() == apotnet::ErrorCategory::unavailable ? 77 : 1;  // 77: what CTest knows as skipped
  }
  return tests.run();
}
