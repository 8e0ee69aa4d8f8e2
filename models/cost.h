#pragma once

#include <string>
#include <vector>

#include "models/model.h"

namespace apotnet {

/// What one convolution or linear layer asks of hardware, for one image.
struct LayerCost {
  std::string name;
  int64_t macs = 0;     ///< multiplications with an addition
  int64_t weights = 0;  ///< without the bias
  int weight_bits = 32, activation_bits = 32;
  double fixops_per_mac = 0;  ///< F18; of a float layer, which does no fixed-point operations, 0
  double bytes = 0;           ///< of the weights (F19)

  double fixops() const { return fixops_per_mac * static_cast<double>(macs); }
};

/// The cost model of the paper's table 3: layers in the order of their computation.
struct NetworkCost {
  std::vector<LayerCost> layers;
  double other_bytes = 0;  ///< of what stays float: biases and four numbers for each channel of a batch norm (F19)

  int64_t macs() const;
  double fixops() const;
  double bytes() const;
  double float_bytes() const;  ///< of the same network with every weight in 32 bits
};

/// The cost of `model`, made from `settings`, on the images it is meant for (model_input()). One evaluation of a blank
/// image is traced, so the parameters must be those of a network that can run: initialised or loaded.
NetworkCost cost_of(Model& model, const ModelSettings& settings);

}  // namespace apotnet
