// Takes the place of the CUDA back end in a build without it.
#include "core/base/error.h"
#include "core/kernels/kernels.h"

namespace apotnet {

const Kernels& cuda_kernels() { fail(ErrorCategory::unavailable, "this build has no CUDA; use --device cpu"); }

}  // namespace apotnet
