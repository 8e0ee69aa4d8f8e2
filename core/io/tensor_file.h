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

/// What a file of tensors holds, in the file's order and with PyTorch's layouts (activations NCHW, weights OIHW).
struct TensorFile {
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;

  /// The tensor of that name, or nullptr.
  const Tensor* find(const std::string& name) const {
    for (const NamedTensor& entry : tensors)
      if (entry.name == name) return &entry.tensor;
    return nullptr;
  }
};

}  // namespace apotnet
