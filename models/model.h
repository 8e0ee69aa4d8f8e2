#pragma once

#include "layers/module.h"
#include "layers/quant_settings.h"

namespace apotnet {

/// A whole network: images [N, H, W, C] (normalised floats) to logits [N, classes].
class Model : public Module {
 public:
  virtual Variable forward(const Variable& images) = 0;
};

/// What a network is made from.
struct ModelSettings {
  std::string name = "resnet20";
  int64_t classes = 10;
  QuantSettings quant;
};

}  // namespace apotnet
