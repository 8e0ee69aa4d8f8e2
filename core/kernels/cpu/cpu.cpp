#include "core/kernels/cpu/cpu.h"

namespace apotnet {

const Kernels& cpu_kernels() {
  static const CpuConv conv;
  static const CpuNorm norm;
  static const CpuQuantize quantize;
  static const CpuFused fused;
  static const CpuElementwise elementwise;
  static const CpuPool pool;
  static const ReferenceLinear linear;
  static const ReferenceLoss loss;
  static const CpuUpdate update;
  static const ReferenceBatch batch;
  static const ReferenceCodes codes;
  static const Kernels kernels{"cpu", &conv,   &norm, &quantize, &fused, &elementwise,
                               &pool, &linear, &loss, &update,   &batch, &codes};
  return kernels;
}

}  // namespace apotnet
