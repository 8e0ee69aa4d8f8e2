#pragma once

#include "core/kernels/kernels.h"

namespace apotnet {

// The contract as plain loops, for float and double alike. A faster back end derives from these and overrides what
// costs time; lines that are made of others call them through the contract, so they get faster with them.

class ReferenceConv : public ConvKernels {
 public:
  void conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const override;
  void conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                             Tensor& gx) const override;
  void conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                              Tensor& gw) const override;
  void conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) const override;
  void conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y,
                               Tensor& mean, Tensor& variance) const override;
  void conv2d_codes_backward_input(const Tensor& gy, const Quantized& w, const Conv2dGeometry& geometry,
                                   Tensor& gx) const override;
  void conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                    Tensor& gw) const override;
};

class ReferenceNorm : public NormKernels {
 public:
  void batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const override;
  void batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma, const Tensor& beta,
                  double epsilon, Tensor& y) const override;
  void batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                           const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                           Tensor& gbeta) const override;
  void batch_norm_eval_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                Tensor& gbeta) const override;
  void update_running_statistics(const Tensor& mean, const Tensor& variance, int64_t count, double momentum,
                                 Tensor& running_mean, Tensor& running_variance) const override;
  void weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const override;
  void weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std, bool constant_statistics,
                            Tensor& gw) const override;
};

class ReferenceQuantize : public QuantizeKernels {
 public:
  void quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const override;
  void quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha, const Quantized& out,
                                QuantizerVariant variant, Tensor& gw, Tensor& galpha) const override;
  void quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const override;
  void quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha, const Quantized& out,
                                    QuantizerVariant variant, bool adds, Tensor& gx, Tensor& galpha) const override;
  void clipped_gradient(const Tensor& g, const Tensor& x, const Tensor& alpha, bool has_sign,
                        Tensor& galpha) const override;
  void dequantize(const Quantized& q, Tensor& values) const override;
  void round_to_8bit(const Tensor& w, FirstLastRule rule, Tensor& out, Tensor& largest) const override;
};

class ReferenceFused : public FusedKernels {
 public:
  void norm_relu(const Tensor& x, const BatchNormTerms& norm, Tensor& y) const override;
  void norm_relu_backward(const Tensor& x, const BatchNormTerms& norm, Tensor& g, Tensor& ggamma,
                          Tensor& gbeta) const override;
  void norm_add_relu(const Tensor& x, const BatchNormTerms& norm, const Tensor& shortcut, Tensor& y) const override;
  void norm_add_relu_backward(const Tensor& x, const Tensor& y, const BatchNormTerms& norm, Tensor& g, Tensor& gx,
                              Tensor& ggamma, Tensor& gbeta) const override;
  void norm_relu_quantize(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                          Quantized& out) const override;
  void norm_relu_quantize_backward(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                   const Quantized& out, Tensor& g, Tensor& ggamma, Tensor& gbeta,
                                   Tensor& galpha) const override;

 protected:
  // Whose lines these are made of.
  virtual const Kernels& kernels() const { return reference_kernels(); }
};

class ReferenceElementwise : public ElementwiseKernels {
 public:
  void relu(const Tensor& x, Tensor& y) const override;
  void relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override;
  void relu6(const Tensor& x, Tensor& y) const override;
  void relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override;
  void add(const Tensor& a, const Tensor& b, Tensor& y) const override;
  void accumulate(const Tensor& x, Tensor& y) const override;
  void scale(const Tensor& x, double factor, Tensor& y) const override;
};

class ReferencePool : public PoolKernels {
 public:
  void average_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y) const override;
  void average_pool_backward(const Tensor& gy, const PoolGeometry& geometry, Tensor& gx) const override;
  void max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const override;
  void max_pool_backward(const Tensor& gy, const Tensor& position, const PoolGeometry& geometry,
                         Tensor& gx) const override;
};

class ReferenceLinear : public LinearKernels {
 public:
  void linear(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y) const override;
  void linear_backward(const Tensor& gy, const Tensor& x, const Tensor& w, Tensor& gx, Tensor& gw,
                       Tensor& gb) const override;
};

class ReferenceLoss : public LossKernels {
 public:
  void cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, Tensor& loss,
                     Tensor& probabilities) const override;
  void cross_entropy_backward(const Tensor& gloss, const Tensor& probabilities, const Tensor& labels, double smoothing,
                              Tensor& glogits) const override;
};

class ReferenceUpdate : public UpdateKernels {
 public:
  void sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const override;
  void sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const override;
};

/// float32 alone.
class ReferenceCodes : public CodesKernels {
 public:
  void convolve_to_codes(const CodesConvolution& convolution, const ChannelThresholds& thresholds,
                         Tensor& codes) const override;
  void convolve_to_values(const CodesConvolution& convolution, const ValueTerms& terms,
                          ValuesOutput& out) const override;
  void plane_to_values(const Tensor& y, const ValueTerms& terms, ValuesOutput& out) const override;
};

class ReferenceBatch : public BatchKernels {
 public:
  void gather_batch(const ResidentImages& data, const Tensor& placements, Tensor& out, Tensor& labels) const override;
};

}  // namespace apotnet
