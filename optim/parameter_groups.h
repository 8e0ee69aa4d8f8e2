#pragma once

#include <string>
#include <vector>

#include "core/autograd/variable.h"

namespace apotnet {

/// A parameter under its checkpoint name.
struct NamedVariable {
  std::string name;
  Variable variable;
};

/// Parameters that share a learning rate and a weight decay.
struct ParameterGroup {
  std::string name;
  std::vector<NamedVariable> parameters;
  double learning_rate = 0.1;
  double weight_decay = 0;
};

}  // namespace apotnet
