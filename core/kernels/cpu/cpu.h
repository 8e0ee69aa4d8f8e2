#pragma once

#include "core/kernels/reference/reference.h"

namespace apotnet {

// What the CPU does faster than the plain loops, for float32. Work is cut into chunks by its size, sums of chunks are
// added in chunk order: the bits are the same for every number of threads.

/// Convolutions by oneDNN in NHWC, one chunk of images per call. Codes go through its u8 x s8 path where that is exact.
class CpuConv : public ReferenceConv {
 public:
  void conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const override;
  void conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                             Tensor& gx) const override;
  void conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                              Tensor& gw) const override;
  void conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) const override;
  void conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y,
                               Tensor& mean, Tensor& variance) const override;
  void conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                    Tensor& gw) const override;
};

class CpuNorm : public ReferenceNorm {
 public:
  void batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const override;
  void batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma, const Tensor& beta,
                  double epsilon, Tensor& y) const override;
  void batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                           const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                           Tensor& gbeta) const override;
  void weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const override;
  void weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std, bool constant_statistics,
                            Tensor& gw) const override;
};

/// Whether the codes are 8-bit integers and floor(2 K z) fits a byte, so that a byte shuffle can look them up.
bool has_byte_table(const Quantized& q);
/// The level set's half-step table as the loops read it.
std::vector<uint8_t> byte_table(const LevelSet& levels);

class CpuQuantize : public ReferenceQuantize {
 public:
  void quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const override;
  void quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha, const Quantized& out,
                                QuantizerVariant variant, Tensor& gw, Tensor& galpha) const override;
  void quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const override;
  void quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha, const Quantized& out,
                                    QuantizerVariant variant, bool adds, Tensor& gx, Tensor& galpha) const override;
};

/// Each line one pass over memory forward and two backward; wide level sets take the lines one by one.
class CpuFused : public ReferenceFused {
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
  const Kernels& kernels() const override { return cpu_kernels(); }
};

class CpuElementwise : public ReferenceElementwise {
 public:
  void relu(const Tensor& x, Tensor& y) const override;
  void relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override;
  void relu6(const Tensor& x, Tensor& y) const override;
  void relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override;
  void add(const Tensor& a, const Tensor& b, Tensor& y) const override;
  void accumulate(const Tensor& x, Tensor& y) const override;
  void scale(const Tensor& x, double factor, Tensor& y) const override;
};

class CpuPool : public ReferencePool {
 public:
  void max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const override;
};

class CpuUpdate : public ReferenceUpdate {
 public:
  void sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const override;
};

}  // namespace apotnet
