#include "models/describe.h"

#include <algorithm>

#include "core/base/error.h"
#include "models/registry.h"

namespace apotnet {
namespace {

bool ends_with_any(const TensorFile& file, const std::string& suffix) {
  return std::ranges::any_of(file.tensors, [&](const NamedTensor& entry) { return entry.name.ends_with(suffix); });
}

// Number of basic blocks "layerN.i" in a stage.
int blocks_of_stage(const TensorFile& file, int stage) {
  int blocks = 0;
  while (file.find(text("layer", stage, ".", blocks, ".conv1.weight"))) ++blocks;
  return blocks;
}

}  // namespace

ModelDescription describe_state(const TensorFile& file) {
  const Tensor* first = file.find("conv1.weight");
  const Tensor* last = file.find("fc.weight");
  if (!first || !last || last->shape().rank() != 2 || first->shape().rank() != 4)
    fail(ErrorCategory::damaged_data, "no known network: expected a ResNet's conv1.weight and fc.weight, found ",
         file.tensors.size(), " tensors", file.tensors.empty() ? "" : ", the first is " + file.tensors[0].name);
  const int blocks = blocks_of_stage(file, 1);
  const std::string model = text("resnet", 6 * blocks + 2);
  const bool cifar_shape = first->shape() == Shape{16, 3, 3, 3} && last->shape()[1] == 64 &&
                           blocks_of_stage(file, 2) == blocks && blocks_of_stage(file, 3) == blocks &&
                           blocks_of_stage(file, 4) == 0;
  const auto names = model_names();
  if (!cifar_shape || std::ranges::find(names, model) == names.end())
    fail(ErrorCategory::damaged_data, "no known network: conv1.weight ", first->shape(), ", fc.weight ", last->shape(),
         ", ", blocks, " blocks in layer1; known are the CIFAR ResNets of 20, 32, 44, 56 and 110 layers");
  const bool cifar_names = ends_with_any(file, ".weight_quant.wgt_alpha"),
             imagenet_names = ends_with_any(file, ".weight_alpha");
  const int64_t classes = last->shape()[0];
  return {.model = model,
          .classes = classes,
          .has_alphas = cifar_names || imagenet_names,
          .variant = imagenet_names && !cifar_names ? QuantizerVariant::imagenet : QuantizerVariant::cifar,
          .dataset = classes == 10    ? "cifar10"
                     : classes == 100 ? "cifar100"
                                      : ""};
}

}  // namespace apotnet
