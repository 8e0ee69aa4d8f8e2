#include "core/ops/norm_relu.h"

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/batch_norm.h"
#include "core/ops/threshold.h"

namespace apotnet {
namespace {

BatchNormTerms terms_of(const UncomputedNorm& norm) {
  return {norm.mean, norm.variance, norm.gamma.value(), norm.beta.value(), norm.epsilon, norm.constant_statistics};
}

// A gradient that may be changed in place.
Tensor own(Tensor gradient) { return gradient.unshared() ? std::move(gradient) : gradient.clone(); }

}  // namespace

UncomputedNorm uncomputed_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                                     double momentum, Tensor& running_mean, Tensor& running_variance) {
  const auto [mean, variance] = batch_statistics(x, gamma, momentum, running_mean, running_variance);
  return {x, gamma, beta, mean, variance, epsilon, false};
}

UncomputedNorm uncomputed_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                                    const Tensor& running_mean, const Tensor& running_variance) {
  require_channels(x, gamma);
  return {x, gamma, beta, running_mean, running_variance, epsilon, true};
}

Variable norm_relu(const UncomputedNorm& norm) {
  const Variable& x = norm.x;
  Tensor y = x.value().like(x.shape());
  call("norm_relu", &FusedKernels::norm_relu, x.value(), terms_of(norm), y);

  return Variable::record(y, {x, norm.gamma, norm.beta}, [norm](Tensor gy, Gradients& gradients) {
    Tensor g = own(std::move(gy)), ggamma = g.like(norm.gamma.shape()), gbeta = g.like(norm.beta.shape());
    call("norm_relu_backward", &FusedKernels::norm_relu_backward, norm.x.value(), terms_of(norm), g, ggamma, gbeta);
    gradients.add(0, g);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

Variable norm_add_relu(const UncomputedNorm& norm, const Variable& shortcut) {
  const Variable& x = norm.x;
  require(x.shape() == shortcut.shape(), "norm_add_relu: shapes ", x.shape(), " and ", shortcut.shape(), " differ");
  Tensor y = x.value().like(x.shape());
  call("norm_add_relu", &FusedKernels::norm_add_relu, x.value(), terms_of(norm), shortcut.value(), y);

  return Variable::record(y, {x, norm.gamma, norm.beta, shortcut}, [norm, y](Tensor gy, Gradients& gradients) {
    Tensor g = own(std::move(gy)), ggamma = g.like(norm.gamma.shape()), gbeta = g.like(norm.beta.shape());
    Tensor gx = g.like(g.shape());
    call("norm_add_relu_backward", &FusedKernels::norm_add_relu_backward, norm.x.value(), y, terms_of(norm), g, gx,
         ggamma, gbeta);
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
    gradients.add(3, g);
  });
}

Variable norm_relu_quantize(const UncomputedNorm& norm, const Variable& alpha, const LevelSet& levels,
                            const std::string& layer, double gradient_scale) {
  require_usable_threshold(alpha, layer, "input");
  Quantized out = Quantized::like(norm.x.value(), levels, /*has_sign=*/false);
  call("norm_relu_quantize", &FusedKernels::norm_relu_quantize, norm.x.value(), terms_of(norm), alpha.value(), out);

  //   dL/dy     = g where 0 < y <= alpha, else 0, y = relu(batch norm); from there on the gradient of batch norm
  //   dL/dalpha = sum g * (1 where z > 1, else q - z), z = y / alpha
  return Variable::record(out, {norm.x, norm.gamma, norm.beta, alpha},
                          [norm, alpha, out, gradient_scale](Tensor values_gradient, Gradients& gradients) {
                            Tensor g = own(std::move(values_gradient)), galpha = g.like({});
                            Tensor ggamma = g.like(norm.gamma.shape()), gbeta = g.like(norm.beta.shape());
                            call("norm_relu_quantize_backward", &FusedKernels::norm_relu_quantize_backward,
                                 norm.x.value(), terms_of(norm), alpha.value(), out, g, ggamma, gbeta, galpha);
                            gradients.add(0, g);
                            gradients.add(1, ggamma);
                            gradients.add(2, gbeta);
                            gradients.add(3, scaled_gradient(galpha, gradient_scale));
                          });
}

}  // namespace apotnet
