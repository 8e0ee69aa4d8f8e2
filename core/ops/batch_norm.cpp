#include "core/ops/batch_norm.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

void require_channels(const Variable& x, const Variable& gamma) {
  const Shape& shape = x.shape();
  require(shape.rank() >= 2 && gamma.shape() == Shape{shape[shape.rank() - 1]}, "batch norm: input ", shape,
          " does not end in the ", gamma.shape(), " channels of its parameters");
}

BatchStatistics batch_statistics(const Variable& x, const Variable& gamma, double momentum, Tensor& running_mean,
                                 Tensor& running_variance) {
  require_channels(x, gamma);
  Tensor mean = gamma.value().like(gamma.shape()), variance = mean.like(gamma.shape());
  if (const auto& known = x.statistics()) {
    mean = known->mean;
    variance = known->variance;
  } else {
    call("batch_statistics", &NormKernels::batch_statistics, x.value(), mean, variance);
  }
  call("update_running_statistics", &NormKernels::update_running_statistics, mean, variance,
       x.value().elements() / mean.elements(), momentum, running_mean, running_variance);
  return {mean, variance};
}

Variable batch_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                          double momentum, Tensor& running_mean, Tensor& running_variance) {
  const BatchStatistics statistics = batch_statistics(x, gamma, momentum, running_mean, running_variance);
  const Tensor mean = statistics.mean, variance = statistics.variance;
  Tensor y = x.value().like(x.shape());
  call("batch_norm", &NormKernels::batch_norm, x.value(), mean, variance, gamma.value(), beta.value(), epsilon, y);

  return Variable::record(y, {x, gamma, beta}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(x.shape()), ggamma = gy.like(gamma.shape()), gbeta = gy.like(gamma.shape());
    call("batch_norm_backward", &NormKernels::batch_norm_backward, gy, x.value(), mean, variance, gamma.value(),
         epsilon, gx, ggamma, gbeta);
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

Variable batch_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                         const Tensor& running_mean, const Tensor& running_variance) {
  require_channels(x, gamma);
  Tensor y = x.value().like(x.shape());
  call("batch_norm", &NormKernels::batch_norm, x.value(), running_mean, running_variance, gamma.value(), beta.value(),
       epsilon, y);

  return Variable::record(y, {x, gamma, beta}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(x.shape()), ggamma = gy.like(gamma.shape()), gbeta = gy.like(gamma.shape());
    call("batch_norm_eval_backward", &NormKernels::batch_norm_eval_backward, gy, x.value(), running_mean,
         running_variance, gamma.value(), epsilon, gx, ggamma, gbeta);
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

}  // namespace apotnet
