#include "core/ops/batch_norm.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {
namespace {

int64_t channels_of(const Variable& x, const Variable& gamma) {
  const Shape& shape = x.shape();
  require(shape.rank() >= 2 && gamma.shape() == Shape{shape[shape.rank() - 1]}, "batch norm: input ", shape,
          " does not end in the ", gamma.shape(), " channels of its parameters");
  return gamma.shape()[0];
}

}  // namespace

Variable batch_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                          double momentum, Tensor& running_mean, Tensor& running_variance) {
  const int64_t channels = channels_of(x, gamma);
  const DType dtype = x.value().dtype();
  Tensor mean({channels}, dtype), variance({channels}, dtype), y(x.shape(), dtype);
  call("batch_statistics", &NormKernels::batch_statistics, x.value(), mean, variance);
  call("update_running_statistics", &NormKernels::update_running_statistics, mean, variance,
       x.value().elements() / channels, momentum, running_mean, running_variance);
  call("batch_norm", &NormKernels::batch_norm, x.value(), mean, variance, gamma.value(), beta.value(), epsilon, y);

  return Variable::record(y, {x, gamma, beta}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx(x.shape(), dtype), ggamma({channels}, dtype), gbeta({channels}, dtype);
    call("batch_norm_backward", &NormKernels::batch_norm_backward, gy, x.value(), mean, variance, gamma.value(),
         epsilon, gx, ggamma, gbeta);
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

Variable batch_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                         const Tensor& running_mean, const Tensor& running_variance) {
  const int64_t channels = channels_of(x, gamma);
  const DType dtype = x.value().dtype();
  Tensor y(x.shape(), dtype);
  call("batch_norm", &NormKernels::batch_norm, x.value(), running_mean, running_variance, gamma.value(), beta.value(),
       epsilon, y);

  return Variable::record(y, {x, gamma, beta}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx(x.shape(), dtype), ggamma({channels}, dtype), gbeta({channels}, dtype);
    call("batch_norm_eval_backward", &NormKernels::batch_norm_eval_backward, gy, x.value(), running_mean,
         running_variance, gamma.value(), epsilon, gx, ggamma, gbeta);
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

}  // namespace apotnet
