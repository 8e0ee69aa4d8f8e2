#pragma once

#include <string>
#include <vector>

#include "core/io/tensor_file.h"
#include "layers/module.h"

namespace apotnet {

/// What did not match when a file was loaded into a model.
struct LoadReport {
  size_t taken = 0;                  ///< tensors of the file that found their place
  std::vector<std::string> missing;  ///< names of the model that the file lacks: they keep their values
  std::vector<std::string> unused;   ///< names of the file that the model lacks
};

/// Copies of all parameters and buffers under PyTorch's names, in its layouts and in the order of its state_dict.
std::vector<NamedTensor> state_of(Module& module);

/// Copies the file's tensors into the parameters and buffers of the same name.
///
/// An alpha of the weights may be called "X.weight_quant.wgt_alpha" (cifar) or
/// "X.weight_alpha" (imagenet) whatever the model calls it; a scalar may have the shape [] or [1]. The number of
/// batches that a batch norm has seen may be missing in files of other programs, as PyTorch before 0.4.1 did not count
/// them. Error(damaged_data) with the name and both shapes when a shape differs: then nothing has been changed.
LoadReport load_state(Module& module, const TensorFile& file);

}  // namespace apotnet
