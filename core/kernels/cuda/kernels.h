#pragma once

#include "core/kernels/cuda/context.h"
#include "core/kernels/kernels.h"

// The contract on a CUDA device, float32. Bits agree with the reference wherever the contract says so; sums of many
// terms agree up to rounding and are the same at every run.

namespace apotnet::cuda {

class CudaConv : public ConvKernels {
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

class CudaNorm : public NormKernels {
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

class CudaQuantize : public QuantizeKernels {
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

class CudaFused : public FusedKernels {
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
};

class CudaElementwise : public ElementwiseKernels {
 public:
  void relu(const Tensor& x, Tensor& y) const override;
  void relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override;
  void relu6(const Tensor& x, Tensor& y) const override;
  void relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override;
  void add(const Tensor& a, const Tensor& b, Tensor& y) const override;
  void accumulate(const Tensor& x, Tensor& y) const override;
  void scale(const Tensor& x, double factor, Tensor& y) const override;
};

class CudaPool : public PoolKernels {
 public:
  void average_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y) const override;
  void average_pool_backward(const Tensor& gy, const PoolGeometry& geometry, Tensor& gx) const override;
  void max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const override;
  void max_pool_backward(const Tensor& gy, const Tensor& position, const PoolGeometry& geometry,
                         Tensor& gx) const override;
};

class CudaLinear : public LinearKernels {
 public:
  void linear(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y) const override;
  void linear_backward(const Tensor& gy, const Tensor& x, const Tensor& w, Tensor& gx, Tensor& gw,
                       Tensor& gb) const override;
};

class CudaLoss : public LossKernels {
 public:
  void cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, Tensor& loss,
                     Tensor& probabilities) const override;
  void cross_entropy_backward(const Tensor& gloss, const Tensor& probabilities, const Tensor& labels, double smoothing,
                              Tensor& glogits) const override;
};

class CudaUpdate : public UpdateKernels {
 public:
  void sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const override;
  void sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const override;
};

class CudaBatch : public BatchKernels {
 public:
  void gather_batch(const ResidentImages& data, const Tensor& placements, Tensor& out, Tensor& labels) const override;
};

class CudaCodes : public CodesKernels {
 public:
  void convolve_to_codes(const CodesConvolution& convolution, const ChannelThresholds& thresholds,
                         Tensor& codes) const override;
  void convolve_to_values(const CodesConvolution& convolution, const ValueTerms& terms,
                          ValuesOutput& out) const override;
  void plane_to_values(const Tensor& y, const ValueTerms& terms, ValuesOutput& out) const override;
};

/// `count` elements of `width` bytes, each the low bytes of `pattern`.
void launch_fill(std::byte* to, uint64_t pattern, size_t width, size_t count);
/// Codes (u8 or s8) as float32.
void launch_widen(const Tensor& codes, Tensor& numbers);
/// values *= a * b, two scalars on the device; b may be undefined.
void launch_scale_by(const Tensor& a, const Tensor& b, Tensor& values);
/// x[..., C] += bias[C]
void launch_add_bias(const Tensor& bias, Tensor& x);
/// Sums of gy[..., C] per channel.
void launch_channel_sums(const Tensor& gy, Tensor& sums);
/// y *= a * b, then the statistics of y (norm.h).
void launch_scale_statistics(const Tensor& a, const Tensor& b, Tensor& y, Tensor& mean, Tensor& variance);
/// Whether a convolution [O, KH, KW, C] of x has so few channels and terms, and so small a window, that it is one of
/// images.
bool is_of_images(const Shape& x, const Shape& w, const Conv2dGeometry& geometry);
/// conv2d_backward_weight of a convolution of images, in float32 and one launch.
void launch_image_weight_gradient(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry, Tensor& gw);
/// y = sum of code products times the product of the steps, in 32-bit integers: where the sums pass 2^24.
void launch_integer_convolution(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y);

}  // namespace apotnet::cuda
