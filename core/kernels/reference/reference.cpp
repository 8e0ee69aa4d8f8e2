#include "core/kernels/reference/reference.h"

namespace apotnet {

const Kernels& reference_kernels() {
  static const ReferenceConv conv;
  static const ReferenceNorm norm;
  static const ReferenceQuantize quantize;
  static const ReferenceFused fused;
  static const ReferenceElementwise elementwise;
  static const ReferencePool pool;
  static const ReferenceLinear linear;
  static const ReferenceLoss loss;
  static const ReferenceUpdate update;
  static const ReferenceBatch batch;
  static const ReferenceCodes codes;
  static const Kernels kernels{"reference", &conv,   &norm, &quantize, &fused, &elementwise,
                               &pool,       &linear, &loss, &update,   &batch, &codes};
  return kernels;
}

}  // namespace apotnet
