#pragma once

#include <string>

#include "core/io/tensor_file.h"

namespace apotnet {

/// Reads a file of tensors of any known kind, told by its content and never by its name: safetensors, or a PyTorch
/// checkpoint in the legacy or the zip form. A leading "module." of the names is dropped.
/// Error(input_missing), Error(damaged_data).
TensorFile read_checkpoint_file(const std::string& path);

}  // namespace apotnet
