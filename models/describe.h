#pragma once

#include <string>

#include "core/io/tensor_file.h"
#include "models/model.h"

namespace apotnet {

/// What the names and shapes of a foreign state dict (PyTorch) say about the network it belongs to.
struct ModelDescription {
  std::string model;  ///< a name that make_model knows
  int64_t classes = 0;
  bool has_alphas = false;  ///< trained with quantizers; the bit width cannot be read from a state dict
  QuantizerVariant variant = QuantizerVariant::cifar;
  FirstLastRule first_last = FirstLastRule::apot_compat;  ///< none for torchvision's float networks
  std::string dataset;                                    ///< the data set of that shape: cifar10, cifar100 or empty
};

/// The weight [classes, in] of the last layer, or null where there is none of a known name. Error(damaged_data) for an
/// empty one.
const Tensor* last_weight(const TensorFile& file);

/// Error(damaged_data) saying what was looked for when the tensors are of no known network.
ModelDescription describe_state(const TensorFile& file);

}  // namespace apotnet
