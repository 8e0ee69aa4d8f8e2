#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace avx2 {
constexpr const char* kName = "avx2";
#include "core/kernels/cpu/loops_body.h"
}  // namespace avx2

const Loops* avx2_loops() { return &avx2::kLoops; }

}  // namespace apotnet
