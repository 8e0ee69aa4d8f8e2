#include "models/describe.h"

#include <algorithm>
#include <span>

#include "core/base/error.h"
#include "models/registry.h"
#include "models/resnet_cifar.h"
#include "models/resnet_imagenet.h"

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

// Blocks of each stage.
std::vector<int> stages_of(const TensorFile& file) {
  std::vector<int> stages;
  while (const int blocks = blocks_of_stage(file, static_cast<int>(stages.size()) + 1)) stages.push_back(blocks);
  return stages;
}

// The network of these shapes, or nothing.
std::string name_of_resnet(const TensorFile& file, const Shape& first, int64_t channels) {
  const std::vector<int> stages = stages_of(file);
  if (first == Shape{16, 3, 3, 3} && channels == 64) {
    for (const int depth : ResNetCifar::kDepths)
      if (stages == std::vector<int>(3, (depth - 2) / 6)) return text("resnet", depth);
  } else if (first == Shape{64, 3, 7, 7}) {
    const bool bottleneck = file.find("layer1.0.conv3.weight");
    for (const int depth : ResNetImageNet::kDepths) {
      const ResNetImageNet::Plan plan = ResNetImageNet::plan(depth);
      if (stages == plan.blocks && bottleneck == plan.bottleneck && channels == plan.widest())
        return text("resnet", depth);
    }
  }
  return "";
}

std::string text_of(std::span<const int> numbers) {
  std::string list;
  for (const int number : numbers) list += (list.empty() ? "" : ", ") + std::to_string(number);
  return list.empty() ? "none" : list;
}

}  // namespace

ModelDescription describe_state(const TensorFile& file) {
  const Tensor* first = file.find("conv1.weight");
  const Tensor* last = file.find("fc.weight");
  if (!first || !last || last->shape().rank() != 2 || first->shape().rank() != 4)
    fail(ErrorCategory::damaged_data, "no known network: expected a ResNet's conv1.weight and fc.weight, found ",
         file.tensors.size(), " tensors", file.tensors.empty() ? "" : ", the first is " + file.tensors[0].name);
  const std::string model = name_of_resnet(file, first->shape(), last->shape()[1]);
  if (model.empty())
    fail(ErrorCategory::damaged_data, "no known network: conv1.weight ", first->shape(), ", fc.weight ", last->shape(),
         ", blocks per stage ", text_of(stages_of(file)), "; known are the ResNets of ", text_of(ResNetCifar::kDepths),
         " layers for CIFAR and ", text_of(ResNetImageNet::kDepths), " for ImageNet");
  const bool cifar_names = ends_with_any(file, ".weight_quant.wgt_alpha"),
             imagenet_names = ends_with_any(file, ".weight_alpha");
  const int64_t classes = last->shape()[0];
  const bool cifar_images = model_input(model)[1] == 32;
  return {.model = model,
          .classes = classes,
          .has_alphas = cifar_names || imagenet_names,
          .variant =
              cifar_names || (cifar_images && !imagenet_names) ? QuantizerVariant::cifar : QuantizerVariant::imagenet,
          .first_last = cifar_images || imagenet_names ? FirstLastRule::apot_compat : FirstLastRule::none,
          .dataset = cifar_images && classes == 10    ? "cifar10"
                     : cifar_images && classes == 100 ? "cifar100"
                                                      : ""};
}

}  // namespace apotnet
