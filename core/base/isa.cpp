#include "core/base/isa.h"

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"

namespace apotnet {

std::string_view name_of(Isa isa) {
  constexpr std::string_view kNames[] = {"generic", "avx2", "avx512", "vnni"};
  return kNames[static_cast<int>(isa)];
}

Isa processor_isa() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::generic;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx512) return Isa::avx2;
  return __builtin_cpu_supports("avx512vnni") ? Isa::vnni : Isa::avx512;
#else
  return Isa::generic;
#endif
}

Isa selected_isa() {
  static const Isa selected = [] {
    const char* wanted = std::getenv("APOTNET_ISA");
    if (!wanted || !*wanted) return processor_isa();
    for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512, Isa::vnni})
      if (wanted == name_of(isa)) return std::min(isa, processor_isa());
    fail(ErrorCategory::usage, "APOTNET_ISA=", wanted, ": generic, avx2, avx512 or vnni; this processor has ",
         name_of(processor_isa()));
  }();
  return selected;
}

}  // namespace apotnet
