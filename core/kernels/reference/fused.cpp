#include "core/kernels/reference/reference.h"

namespace apotnet {
namespace {

Tensor like(const Tensor& x) { return Tensor(x.shape(), x.dtype()); }

void copy(const Tensor& from, Tensor& to) { to.copy_from({from.raw(), from.bytes()}); }

Tensor batch_norm(const Kernels& kernels, const Tensor& x, const BatchNormTerms& norm) {
  Tensor y = like(x);
  kernels.norm->batch_norm(x, norm.mean, norm.variance, norm.gamma, norm.beta, norm.epsilon, y);
  return y;
}

Tensor batch_norm_and_relu(const Kernels& kernels, const Tensor& x, const BatchNormTerms& norm) {
  Tensor y = like(x);
  kernels.elementwise->relu(batch_norm(kernels, x, norm), y);
  return y;
}

void batch_norm_backward(const Kernels& kernels, const Tensor& g, const Tensor& x, const BatchNormTerms& norm,
                         Tensor& gx, Tensor& ggamma, Tensor& gbeta) {
  const auto line =
      norm.constant_statistics ? &NormKernels::batch_norm_eval_backward : &NormKernels::batch_norm_backward;
  (kernels.norm->*line)(g, x, norm.mean, norm.variance, norm.gamma, norm.epsilon, gx, ggamma, gbeta);
}

}  // namespace

void ReferenceFused::norm_relu(const Tensor& x, const BatchNormTerms& norm, Tensor& y) const {
  kernels().elementwise->relu(batch_norm(kernels(), x, norm), y);
}

void ReferenceFused::norm_relu_backward(const Tensor& x, const BatchNormTerms& norm, Tensor& g, Tensor& ggamma,
                                        Tensor& gbeta) const {
  Tensor masked = like(x);
  kernels().elementwise->relu_backward(g, batch_norm_and_relu(kernels(), x, norm), masked);
  batch_norm_backward(kernels(), masked, x, norm, g, ggamma, gbeta);
}

void ReferenceFused::norm_add_relu(const Tensor& x, const BatchNormTerms& norm, const Tensor& shortcut,
                                   Tensor& y) const {
  Tensor sum = like(x);
  kernels().elementwise->add(batch_norm(kernels(), x, norm), shortcut, sum);
  kernels().elementwise->relu(sum, y);
}

void ReferenceFused::norm_add_relu_backward(const Tensor& x, const Tensor& y, const BatchNormTerms& norm, Tensor& g,
                                            Tensor& gx, Tensor& ggamma, Tensor& gbeta) const {
  Tensor masked = like(x);
  kernels().elementwise->relu_backward(g, y, masked);
  batch_norm_backward(kernels(), masked, x, norm, gx, ggamma, gbeta);
  copy(masked, g);
}

void ReferenceFused::norm_relu_quantize(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                        Quantized& out) const {
  kernels().quantize->quantize_activation(batch_norm_and_relu(kernels(), x, norm), alpha, out);
}

void ReferenceFused::norm_relu_quantize_backward(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                                 const Quantized& out, Tensor& g, Tensor& ggamma, Tensor& gbeta,
                                                 Tensor& galpha) const {
  const Tensor y = batch_norm_and_relu(kernels(), x, norm);
  Tensor inside = like(x), masked = like(x);
  kernels().quantize->quantize_activation_backward(g, y, alpha, out, QuantizerVariant::imagenet, false, inside, galpha);
  kernels().elementwise->relu_backward(inside, y, masked);
  batch_norm_backward(kernels(), masked, x, norm, g, ggamma, gbeta);
}

}  // namespace apotnet
