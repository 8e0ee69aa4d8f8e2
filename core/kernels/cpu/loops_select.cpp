#include <cstdlib>
#include <string_view>

#include "core/kernels/cpu/loops.h"

namespace apotnet {

const Loops& loops() {
  static const Loops& chosen = [&]() -> const Loops& {
    const char* forced = std::getenv("APOTNET_ISA");
    if (forced && std::string_view(forced) == "generic") return generic_loops();
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return *avx2_loops();
#endif
    return generic_loops();
  }();
  return chosen;
}

}  // namespace apotnet
