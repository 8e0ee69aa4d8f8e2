#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "layers/quant_conv2d.h"
#include "models/model.h"
#include "optim/sgd.h"

namespace apotnet {

/// What a quantizer makes of a tensor.
struct QuantizerStatistics {
  double alpha = 0;
  double clipped = 0;              ///< share of the values beyond alpha, 0 to 1
  double sqnr_db = 0;              ///< 10 log10(sum of x^2 / sum of (x - q)^2), infinite without an error
  std::vector<int64_t> occupancy;  ///< values per level, or per magnitude where the codes have a sign
};

/// The two quantizers of one convolution.
struct LayerStatistics {
  std::string name;
  QuantizerStatistics weight, activation;
  /// Root mean square of the thresholds' gradients over the steps that this process did of an epoch, if any.
  std::optional<double> weight_alpha_gradient{}, activation_alpha_gradient{};
};

/// Of the weights of a quantized layer as they stand, in the units that its quantizer takes them in.
QuantizerStatistics weight_statistics(const QuantConv2d& layer);

/// Of every quantized layer in the order of the model, from one evaluation of `images` [N, H, W, C]: the inputs and
/// codes are those that its kernels saw. Negative inputs count as 0, as the quantizer takes them.
std::vector<LayerStatistics> layer_statistics(Model& model, const Tensor& images);

/// Gradients of the thresholds over the steps of an epoch, which an optimizer adds up on its way, from the making of
/// this on as long as the optimizer lives.
class AlphaGradients {
 public:
  AlphaGradients(Model& model, Sgd& optimizer);
  void clear();
  void count_step() { ++steps_; }
  /// Nothing where no step was counted since the last clear().
  void put_into(std::vector<LayerStatistics>& layers) const;

 private:
  std::map<std::string, size_t> place_;  // of a layer's weight in the squares; its input comes next
  Tensor squares_;
  int64_t steps_ = 0;
};

}  // namespace apotnet
