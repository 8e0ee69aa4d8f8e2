#include "core/ops/weight_norm.h"

#include <cmath>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/threshold.h"

namespace apotnet {

Variable weight_norm(const Variable& w, bool constant_statistics, const std::string& layer) {
  Tensor w_hat = w.value().like(w.shape()), mean = w_hat.like({}), std = w_hat.like({});
  call("weight_norm", &NormKernels::weight_norm, w.value(), w_hat, mean, std);
  if (const double deviation = item_of_host(std, 1); !std::isfinite(deviation) || deviation <= 0)
    fail(ErrorCategory::diverged, layer, ": the weights' standard deviation is ", deviation,
         "; weight normalisation needs different, finite weights");

  return Variable::record(w_hat, {w}, [=](const Tensor& g, Gradients& gradients) {
    Tensor gw = g.like(g.shape());
    call("weight_norm_backward", &NormKernels::weight_norm_backward, g, w_hat, std, constant_statistics, gw);
    gradients.add(0, gw);
  });
}

}  // namespace apotnet
