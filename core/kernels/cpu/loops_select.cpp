#include "core/base/isa.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {

const Loops& loops() {
#if defined(__x86_64__)
  if (selected_isa() >= Isa::avx2) return *avx2_loops();
#endif
  return generic_loops();
}

}  // namespace apotnet
