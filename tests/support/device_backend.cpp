#include "tests/support/device_backend.h"

#include <tuple>
#include <type_traits>
#include <utility>

#include "core/kernels/accelerator.h"
#include "core/kernels/arguments.h"
#include "core/kernels/call.h"
#include "core/kernels/cuda/context.h"

namespace apotnet::test {
namespace {

const Device kDevice{DeviceType::cuda, 0};

template <typename Argument>
auto moved(Argument& argument) {
  return with_tensors(argument, [](const Tensor& tensor) { return tensor.on(kDevice); });
}

template <typename Argument>
void bring_back(Argument& argument, const std::remove_const_t<Argument>& result) {
  if constexpr (kIsWritten<Argument>)
    for_each_pair(argument, result, [](Tensor tensor, const Tensor& there) {
      const Tensor copy = there.on(Device{});
      tensor.copy_from({copy.raw(), copy.bytes()});
    });
}

// Gradients in float32 as the reference has them, not in tf32.
void use_plain_arithmetic() {
  cuda_device();
  cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::f32);
}

template <typename Family, typename... Parameters, size_t... I>
void run(void (Family::*kernel)(Parameters...) const, std::index_sequence<I...>, Parameters... arguments) {
  use_plain_arithmetic();
  std::tuple<std::decay_t<Parameters>...> there{moved(arguments)...};
  (cuda_kernels().family<Family>().*kernel)(std::get<I>(there)...);
  (bring_back(arguments, std::get<I>(there)), ...);
}

template <typename Family, typename... Parameters, typename... Arguments>
void through(void (Family::*kernel)(Parameters...) const, Arguments&&... arguments) {
  run<Family, Parameters...>(kernel, std::index_sequence_for<Parameters...>{}, arguments...);
}

class Conv : public ConvKernels {
 public:
  void conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const override {
    through(&ConvKernels::conv2d, x, w, geometry, y);
  }
  void conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                             Tensor& gx) const override {
    through(&ConvKernels::conv2d_backward_input, gy, w, geometry, gx);
  }
  void conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                              Tensor& gw) const override {
    through(&ConvKernels::conv2d_backward_weight, gy, x, geometry, gw);
  }
  void conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) const override {
    through(&ConvKernels::conv2d_codes, x, w, geometry, y);
  }
  void conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y,
                               Tensor& mean, Tensor& variance) const override {
    through(&ConvKernels::conv2d_codes_statistics, x, w, geometry, y, mean, variance);
  }
  void conv2d_codes_backward_input(const Tensor& gy, const Quantized& w, const Conv2dGeometry& geometry,
                                   Tensor& gx) const override {
    through(&ConvKernels::conv2d_codes_backward_input, gy, w, geometry, gx);
  }
  void conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                    Tensor& gw) const override {
    through(&ConvKernels::conv2d_codes_backward_weight, gy, x, geometry, gw);
  }
};

class Norm : public NormKernels {
 public:
  void batch_statistics(const Tensor& x, Tensor& mean, Tensor& variance) const override {
    through(&NormKernels::batch_statistics, x, mean, variance);
  }
  void batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma, const Tensor& beta,
                  double epsilon, Tensor& y) const override {
    through(&NormKernels::batch_norm, x, mean, variance, gamma, beta, epsilon, y);
  }
  void batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                           const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                           Tensor& gbeta) const override {
    through(&NormKernels::batch_norm_backward, gy, x, mean, variance, gamma, epsilon, gx, ggamma, gbeta);
  }
  void batch_norm_eval_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                Tensor& gbeta) const override {
    through(&NormKernels::batch_norm_eval_backward, gy, x, mean, variance, gamma, epsilon, gx, ggamma, gbeta);
  }
  void update_running_statistics(const Tensor& mean, const Tensor& variance, int64_t count, double momentum,
                                 Tensor& running_mean, Tensor& running_variance) const override {
    through(&NormKernels::update_running_statistics, mean, variance, count, momentum, running_mean, running_variance);
  }
  void weight_norm(const Tensor& w, Tensor& w_hat, Tensor& mean, Tensor& std) const override {
    through(&NormKernels::weight_norm, w, w_hat, mean, std);
  }
  void weight_norm_backward(const Tensor& g, const Tensor& w_hat, const Tensor& std, bool constant_statistics,
                            Tensor& gw) const override {
    through(&NormKernels::weight_norm_backward, g, w_hat, std, constant_statistics, gw);
  }
};

class Quantize : public QuantizeKernels {
 public:
  void quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const override {
    through(&QuantizeKernels::quantize_weight, w_hat, alpha, out);
  }
  void quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha, const Quantized& out,
                                QuantizerVariant variant, Tensor& gw, Tensor& galpha) const override {
    through(&QuantizeKernels::quantize_weight_backward, g, w_hat, alpha, out, variant, gw, galpha);
  }
  void quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const override {
    through(&QuantizeKernels::quantize_activation, x, alpha, out);
  }
  void quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha, const Quantized& out,
                                    QuantizerVariant variant, bool adds, Tensor& gx, Tensor& galpha) const override {
    through(&QuantizeKernels::quantize_activation_backward, g, x, alpha, out, variant, adds, gx, galpha);
  }
  void clipped_gradient(const Tensor& g, const Tensor& x, const Tensor& alpha, bool has_sign,
                        Tensor& galpha) const override {
    through(&QuantizeKernels::clipped_gradient, g, x, alpha, has_sign, galpha);
  }
  void dequantize(const Quantized& q, Tensor& values) const override {
    through(&QuantizeKernels::dequantize, q, values);
  }
  void round_to_8bit(const Tensor& w, FirstLastRule rule, Tensor& out, Tensor& largest) const override {
    through(&QuantizeKernels::round_to_8bit, w, rule, out, largest);
  }
};

class Fused : public FusedKernels {
 public:
  void norm_relu(const Tensor& x, const BatchNormTerms& norm, Tensor& y) const override {
    through(&FusedKernels::norm_relu, x, norm, y);
  }
  void norm_relu_backward(const Tensor& x, const BatchNormTerms& norm, Tensor& g, Tensor& ggamma,
                          Tensor& gbeta) const override {
    through(&FusedKernels::norm_relu_backward, x, norm, g, ggamma, gbeta);
  }
  void norm_add_relu(const Tensor& x, const BatchNormTerms& norm, const Tensor& shortcut, Tensor& y) const override {
    through(&FusedKernels::norm_add_relu, x, norm, shortcut, y);
  }
  void norm_add_relu_backward(const Tensor& x, const Tensor& y, const BatchNormTerms& norm, Tensor& g, Tensor& gx,
                              Tensor& ggamma, Tensor& gbeta) const override {
    through(&FusedKernels::norm_add_relu_backward, x, y, norm, g, gx, ggamma, gbeta);
  }
  void norm_relu_quantize(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                          Quantized& out) const override {
    through(&FusedKernels::norm_relu_quantize, x, norm, alpha, out);
  }
  void norm_relu_quantize_backward(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                   const Quantized& out, Tensor& g, Tensor& ggamma, Tensor& gbeta,
                                   Tensor& galpha) const override {
    through(&FusedKernels::norm_relu_quantize_backward, x, norm, alpha, out, g, ggamma, gbeta, galpha);
  }
};

class Elementwise : public ElementwiseKernels {
 public:
  void relu(const Tensor& x, Tensor& y) const override { through(&ElementwiseKernels::relu, x, y); }
  void relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override {
    through(&ElementwiseKernels::relu_backward, gy, y, gx);
  }
  void relu6(const Tensor& x, Tensor& y) const override { through(&ElementwiseKernels::relu6, x, y); }
  void relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const override {
    through(&ElementwiseKernels::relu6_backward, gy, y, gx);
  }
  void add(const Tensor& a, const Tensor& b, Tensor& y) const override { through(&ElementwiseKernels::add, a, b, y); }
  void accumulate(const Tensor& x, Tensor& y) const override { through(&ElementwiseKernels::accumulate, x, y); }
  void scale(const Tensor& x, double factor, Tensor& y) const override {
    through(&ElementwiseKernels::scale, x, factor, y);
  }
};

class Pool : public PoolKernels {
 public:
  void average_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y) const override {
    through(&PoolKernels::average_pool, x, geometry, y);
  }
  void average_pool_backward(const Tensor& gy, const PoolGeometry& geometry, Tensor& gx) const override {
    through(&PoolKernels::average_pool_backward, gy, geometry, gx);
  }
  void max_pool(const Tensor& x, const PoolGeometry& geometry, Tensor& y, Tensor& position) const override {
    through(&PoolKernels::max_pool, x, geometry, y, position);
  }
  void max_pool_backward(const Tensor& gy, const Tensor& position, const PoolGeometry& geometry,
                         Tensor& gx) const override {
    through(&PoolKernels::max_pool_backward, gy, position, geometry, gx);
  }
};

class Linear : public LinearKernels {
 public:
  void linear(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y) const override {
    through(&LinearKernels::linear, x, w, b, y);
  }
  void linear_backward(const Tensor& gy, const Tensor& x, const Tensor& w, Tensor& gx, Tensor& gw,
                       Tensor& gb) const override {
    through(&LinearKernels::linear_backward, gy, x, w, gx, gw, gb);
  }
};

class Loss : public LossKernels {
 public:
  void cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, Tensor& loss,
                     Tensor& probabilities) const override {
    through(&LossKernels::cross_entropy, logits, labels, smoothing, loss, probabilities);
  }
  void cross_entropy_backward(const Tensor& gloss, const Tensor& probabilities, const Tensor& labels, double smoothing,
                              Tensor& glogits) const override {
    through(&LossKernels::cross_entropy_backward, gloss, probabilities, labels, smoothing, glogits);
  }
};

class Update : public UpdateKernels {
 public:
  void sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const override {
    through(&UpdateKernels::sgd, gradient, settings, parameter, velocity);
  }
  void sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const override {
    through(&UpdateKernels::sgd_all, items, rates);
  }
};

class Batch : public BatchKernels {
 public:
  void gather_batch(const ResidentImages& data, const Tensor& placements, Tensor& out, Tensor& labels) const override {
    through(&BatchKernels::gather_batch, data, placements, out, labels);
  }
};

class Codes : public CodesKernels {
 public:
  void convolve_to_codes(const CodesConvolution& convolution, const ChannelThresholds& thresholds,
                         Tensor& codes) const override {
    through(&CodesKernels::convolve_to_codes, convolution, thresholds, codes);
  }
  void convolve_to_values(const CodesConvolution& convolution, const ValueTerms& terms,
                          ValuesOutput& out) const override {
    through(&CodesKernels::convolve_to_values, convolution, terms, out);
  }
  void plane_to_values(const Tensor& y, const ValueTerms& terms, ValuesOutput& out) const override {
    through(&CodesKernels::plane_to_values, y, terms, out);
  }
};

// Operations of a program that holds this file compute on the device as well.
[[maybe_unused]] const bool kInPlace = [] {
  use_fast_kernels(device_kernels_on_copies());
  return true;
}();

}  // namespace

const Kernels& device_kernels_on_copies() {
  static const Conv conv;
  static const Norm norm;
  static const Quantize quantize;
  static const Fused fused;
  static const Elementwise elementwise;
  static const Pool pool;
  static const Linear linear;
  static const Loss loss;
  static const Update update;
  static const Batch batch;
  static const Codes codes;
  static const Kernels kernels{"cuda", &conv,   &norm, &quantize, &fused, &elementwise,
                               &pool,  &linear, &loss, &update,   &batch, &codes};
  return kernels;
}

}  // namespace apotnet::test
