#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "models/model.h"

namespace apotnet {

/// What a network makes of a data set.
struct Evaluation {
  int64_t count = 0;
  double top1 = 0, top5 = 0;  ///< percent; top5 is over min(5, classes)
  double loss = 0;            ///< mean cross entropy
  double seconds = 0;         ///< loading included
  Tensor logits;              ///< f32 [count, classes], in the order of the data
  Tensor labels;              ///< i64 [count]

  double images_per_second() const { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }
};

/// Error(configuration) where images of `channels` channels are nothing for the model.
void require_channels(Model& model, const std::string& dataset, int64_t channels);

/// Error(configuration) naming the first difference where a checkpoint has names of classes and the data have others.
/// How many there are is not compared.
void require_same_classes(const std::string& checkpoint, const std::vector<std::string>& trained_on,
                          const Dataset& dataset);

/// Runs the model in evaluation mode over all of `dataset`; leaves it in the mode it was in.
/// Error(configuration) when data and model differ in their number of classes or channels; Error(diverged) naming the
/// layer when one can compute nothing, on a device too. `between` is called after each batch, and may throw.
Evaluation evaluate(Model& model, int64_t classes, const std::shared_ptr<const Dataset>& dataset, int workers = 1,
                    const std::function<void()>& between = {});

/// The same by the integer engine (deploy/compile.h) on `device`: the same logits, bit for bit. The model lies on the
/// CPU.
Evaluation evaluate_integer(Model& model, int64_t classes, const std::shared_ptr<const Dataset>& dataset,
                            Device device = {}, int workers = 1);

/// What stops a forward pass of one image of `dataset` through the model on the CPU, where a layer that can compute
/// nothing says so by name; "" where nothing does. For the end of a computation on a device, whose kernels only raise a
/// flag (accelerator.h): the model stays on the CPU.
std::string fault_of_layers(Model& model, const Dataset& dataset);

/// Correct predictions among `logits` [N, classes] (or [.., classes]) for labels s32 [N]; of equal logits the first
/// counts.
int64_t count_correct(const Tensor& logits, const Tensor& labels, int64_t top = 1);

}  // namespace apotnet
