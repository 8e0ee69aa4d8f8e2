#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"

namespace apotnet {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Tensors under their names in the order of the file, in PyTorch's layouts (weights OIHW), and what the file says of
/// itself.
struct TensorFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;

  /// nullptr where there is none.
  const Tensor* find(const std::string& name) const {
    for (const NamedTensor& entry : tensors)
      if (entry.name == name) return &entry.tensor;
    return nullptr;
  }
};

}  // namespace apotnet
