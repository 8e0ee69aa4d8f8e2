// Takes the place of the CUDA back end in a build without it.
#include "core/base/error.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/kernels.h"

namespace apotnet {
namespace {

[[noreturn]] void fail_not_built() {
  fail(ErrorCategory::unavailable,
       "this build has no CUDA; use --device cpu, or APOTNET_CUDA=ON ./apotnet, which builds it or says what is "
       "missing");
}

}  // namespace

const Kernels& cuda_kernels() { fail_not_built(); }
Accelerator& cuda_device() { fail_not_built(); }
void choose_cuda_device(int) {}

}  // namespace apotnet
