#include "core/ops/threshold.h"

#include <cmath>

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

double item_of_host(const Tensor& scalar, double elsewhere) { return scalar.on_cpu() ? scalar.item() : elsewhere; }

void require_usable_threshold(const Variable& alpha, const std::string& layer, const char* which) {
  const double value = item_of_host(alpha.value(), 1);
  if (!std::isfinite(value) || value <= 0)
    fail(ErrorCategory::diverged, layer, ": the clipping threshold of its ", which, " is ", value,
         "; it must be positive (a lower learning rate for alpha keeps it so)");
}

Tensor clipped_threshold_gradient(const Tensor& g, const Tensor& x, const Variable& alpha, bool has_sign) {
  Tensor galpha = g.like({});
  call("clipped_gradient", &QuantizeKernels::clipped_gradient, g, x, alpha.value(), has_sign, galpha);
  return galpha;
}

Tensor scaled_gradient(const Tensor& gradient, double scale) {
  if (scale == 1) return gradient;
  Tensor result = gradient.like(gradient.shape());
  call("scale", &ElementwiseKernels::scale, gradient, scale, result);
  return result;
}

}  // namespace apotnet
