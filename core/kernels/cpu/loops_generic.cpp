#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace generic {
constexpr const char* kName = "generic";
#include "core/kernels/cpu/loops_body.h"
}  // namespace generic

const Loops& generic_loops() { return generic::kLoops; }

}  // namespace apotnet
