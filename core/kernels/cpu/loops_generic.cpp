#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace generic {
constexpr const char* kName = "generic";

// codes[i] = table[index[i]]
inline void look_up(int64_t count, const uint8_t* __restrict index, const uint8_t* __restrict table, int32_t,
                    uint8_t* __restrict codes) {
  for (int64_t i = 0; i < count; ++i) codes[i] = table[index[i]];
}

#include "core/kernels/cpu/loops_body.h"
}  // namespace generic

const Loops& generic_loops() { return generic::kLoops; }

}  // namespace apotnet
