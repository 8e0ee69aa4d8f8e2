#pragma once

#include "core/ops/norm_relu.h"
#include "layers/batch_norm.h"

namespace apotnet {

/// relu(norm(x)), not yet computed: a quantized convolution takes it as its input and computes its codes in one pass,
/// keeping no floats; value() is the floats.
///
///   conv2_.forward(NormRelu(bn1_, conv1_.forward(x)))
class NormRelu {
 public:
  NormRelu(BatchNorm& norm, const Variable& x) : norm_(norm.uncomputed(x)) {}

  const UncomputedNorm& norm() const { return norm_; }
  Variable value() const { return norm_relu(norm_); }

 private:
  UncomputedNorm norm_;
};

/// relu(norm(x) + shortcut), how a residual block ends, in one pass.
inline Variable norm_add_relu(BatchNorm& norm, const Variable& x, const Variable& shortcut) {
  return norm_add_relu(norm.uncomputed(x), shortcut);
}

}  // namespace apotnet
