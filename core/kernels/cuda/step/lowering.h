#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/kernels/cuda/step/forward_chain.h"
#include "core/kernels/cuda/step/gradient_chain.h"
#include "core/kernels/cuda/step/lower.h"
#include "core/kernels/cuda/step/step_kernels.h"

namespace apotnet::cuda {

/// Whether a pooling is the mean over each image of x.
inline bool is_of_whole_images(const Shape& x, const PoolGeometry& geometry) {
  return geometry.window == x[1] && geometry.window == x[2] && geometry.padding == 0;
}

/// lower_step() at work: walks through the calls once, in their order. Tensors are known by their address: while a step
/// is traced no memory is used twice.
///
/// A float tensor that no launch has stored yet is known as what it is made of: a value of the forward pass, a batch
/// norm's input gradient, the gradient that a convolution is about to compute. A rule for a call either adds to what is
/// known or emits a launch; whatever a call without a rule reads is stored first.
class Lowering {
 public:
  explicit Lowering(const std::vector<TracedCall>& trace);
  std::optional<StepProgram> run();

 private:
  using Address = const std::byte*;
  using Rule = bool (Lowering::*)(const TracedCall&);  // false: the call stays as it is
  static const std::map<std::string, Rule, std::less<>>& rules();

  // Forward (lower_forward.cpp).
  bool weight_norm(const TracedCall& call);
  bool quantize_weight(const TracedCall& call);
  bool quantize_activation(const TracedCall& call);
  bool norm_relu_quantize(const TracedCall& call);
  bool norm_relu(const TracedCall& call);
  bool norm_add_relu(const TracedCall& call);
  bool batch_norm(const TracedCall& call);
  bool convolve(const TracedCall& call);
  bool convolve_image(const TracedCall& call);
  bool average_pool(const TracedCall& call);

  // Backward (lower_backward.cpp).
  bool convolve_backward_input(const TracedCall& call);
  bool convolve_backward_weight(const TracedCall& call);
  bool image_weight_gradient(const TracedCall& call);
  // Whether one call reads this gradient of a batch norm's input.
  bool is_alone(const Tensor& gy) const;
  bool quantize_weight_backward(const TracedCall& call);
  bool weight_norm_backward(const TracedCall& call);
  bool scale(const TracedCall& call);
  bool quantize_activation_backward(const TracedCall& call);
  bool norm_relu_quantize_backward(const TracedCall& call);
  bool norm_add_relu_backward(const TracedCall& call);
  bool average_pool_backward(const TracedCall& call);

  // Codes that no launch has written yet.
  struct PendingCodes {
    Value value;
    Tensor of, alpha;  // the tensor of the value
    Quantized codes;
  };
  struct NormalisedWeight {
    Tensor w, mean, std;
    const TracedCall* call;
  };

  // The value that x stands for, stored or not.
  Value value_of(const Tensor& x);
  // A launch that comes before any other reader stores x, until now known as its value.
  void read_from_memory(const Tensor& x);
  // As one operand in front of a batch norm or beside another one; x is stored where it is more than that.
  Operand operand_of(const Tensor& x);
  Operand normalised(const Tensor& x, const BatchNormTerms& norm);
  bool fusable(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry) const;
  StatisticsOutput statistics_of(const Tensor& mean, const Tensor& variance, int64_t channels);
  // The update of running statistics by this mean becomes a part of `output`, and is done with it; null: there is none.
  template <typename Output>
  const TracedCall* take_update(const Tensor& mean, Output& output);

  // The gradient of gy in bf16 for the weight gradient, written by the input gradient's launch where that reads it.
  Tensor stored_gradient(const Tensor& gy);
  void emit_input_gradient(const std::shared_ptr<ConvolutionGradient>& conv, const ValueGradient& gradient);
  // Adds to `gradient` what the backward call number `index`, the end of a residual block or of a ReLU behind a batch
  // norm, does with it.
  void take_over_sum(size_t index, ValueGradient& gradient);
  void take_over_norm(const Tensor& x, const BatchNormTerms& norm, const Tensor& ggamma, const Tensor& gbeta,
                      const Tensor& gx, ValueGradient& gradient);
  void finish_weights();

  // The next call that has this tensor among its arguments; the number of calls where there is none.
  size_t next_use(const Tensor& tensor) const;
  void keep(const TracedCall& call);
  void store(Address address);
  // How many calls, from that number on, have one of these tensors among their arguments.
  size_t calls_with(const std::vector<Tensor>& tensors, size_t from = 0) const;
  // What waits for the next convolution or gradient to join it is launched before anything else.
  void end_chains();
  template <typename Launch>
  void emit(Launch&& launch) {
    end_chains();
    launches_.emplace_back(std::forward<Launch>(launch));
  }

  const std::vector<TracedCall>& trace_;
  std::vector<bool> done_;
  size_t position_ = 0;
  bool failed_ = false;
  size_t convolutions_ = 0;
  std::vector<std::function<void()>> launches_;
  ForwardChain forward_chain_;
  GradientChain gradient_chain_;
  std::shared_ptr<ImageConvolution> image_;  // the first convolution, where a chain has room for it
  std::map<Address, std::shared_ptr<StoredValue>> stored_values_;  // by convolutions that have rounded them

  std::set<Address> seen_;                              // by calls before this one
  std::map<Address, std::pair<Tensor, Value>> values_;  // not stored
  std::set<Address> not_negative_;                      // stored, behind a ReLU
  std::map<Address, PendingCodes> codes_;
  std::map<Address, NormalisedWeight> normalised_weights_;  // by w_hat, which is never stored
  std::shared_ptr<std::vector<WeightToQuantize>> weights_ = std::make_shared<std::vector<WeightToQuantize>>();
  std::map<Address, size_t> weight_of_codes_;

  std::map<Address, std::pair<Tensor, NormInputGradient>> norm_gradients_;         // not stored
  std::map<Address, const TracedCall*> mean_gradients_;                            // of pixels, not stored: the call
  std::map<Address, Tensor> narrow_gradients_;                                     // stored, as bf16
  std::map<Address, std::shared_ptr<ConvolutionGradient>> convolution_gradients_;  // that wait for what follows them
  std::set<Address> never_written_;  // gradients that only stand for what a later launch computes
  std::map<Address, std::shared_ptr<ConvolutionGradient>> convolution_of_output_;
  std::map<Address, Tensor> stored_output_gradients_;
  std::vector<WeightGradient> weight_gradients_;
  std::vector<WeightGradientEnd> weight_ends_;     // of the same convolutions
  std::map<Address, size_t> weight_end_of_;        // by the newest form of the gradient
  std::set<Address> promised_;                     // gradients that finish_weights() writes
  std::vector<const TracedCall*> scalings_;        // of such gradients, to be done behind it
  std::set<Address> chained_;                      // gradients of thresholds that the waiting chain writes
  std::vector<const TracedCall*> chain_scalings_;  // of such gradients, to be done behind it
};

}  // namespace apotnet::cuda
