#pragma once

#include <optional>

#include "core/kernels/conv.h"
#include "layers/activation_quantizer.h"
#include "layers/module.h"
#include "layers/weight_quantizer.h"

namespace apotnet {

/// Whether a layer's input has negative values: not behind a ReLU.
enum class InputSign { none, both };

/// A convolution without bias whose weights and input are quantized and convolved as integer codes (F9):
/// x [N, H, W, in] -> [N, OH, OW, out]. With 32-bit settings it is an ordinary float convolution and has no alphas.
///
/// Parameters: weight; weight_quant.wgt_alpha and act_alpha (cifar) or weight_alpha and act_alpha (imagenet).
class QuantConv2d : public Module {
 public:
  QuantConv2d(int64_t in, int64_t out, int64_t kernel, const Conv2dGeometry& geometry, const QuantSettings& settings,
              InputSign sign = InputSign::none);
  Variable forward(const Variable& x) const;
  /// The same of relu(norm(x)).
  Variable forward(const NormRelu& x) const;

  Variable weight;  ///< [out, kernel, kernel, in / groups]
  std::optional<WeightQuantizer> weight_quantizer;
  std::optional<ActivationQuantizer> activation_quantizer;

  /// Whether the codes of weights and input both fit 8 bits, so that the convolution sums exact integers; if not (pot
  /// from 4 bits on, apot from 6 bits on) the codes are convolved as floats.
  bool exact() const;

 protected:
  void initialize_own(Philox& random) override;

 private:
  Variable convolve(const Variable& x_codes, const Variable& w_codes) const;

  Conv2dGeometry geometry_;
  QuantizerVariant variant_;
};

}  // namespace apotnet
