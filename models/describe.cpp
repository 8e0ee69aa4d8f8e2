#include "models/describe.h"

#include <algorithm>
#include <span>

#include "core/base/error.h"
#include "core/io/printable.h"
#include "models/mobilenet_v2.h"
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
  } else if (first == Shape{16, 1, 7, 7}) {
    for (const int depth : ResNetImageNet::kMnistDepths)
      if (stages == ResNetImageNet::mnist(depth).blocks && channels == 128) return text("resnet", depth, "_mnist");
  } else if (first == Shape{64, 3, 7, 7}) {
    const bool bottleneck = file.find("layer1.0.conv3.weight");
    for (const int depth : ResNetImageNet::kDepths) {
      const ResNetImageNet::Plan plan = ResNetImageNet::imagenet(depth);
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

// What images of a network's size, so many classes, are of.
std::string dataset_of(int64_t side, int64_t classes) {
  if (side == 32) return classes == 10 ? "cifar10" : classes == 100 ? "cifar100" : "";
  if (side == 28) return classes == 10 ? "mnist" : "";
  return classes == 1000 ? "imagenet" : "";
}

bool is_weight(const Tensor* tensor, int rank) { return tensor && tensor->shape().rank() == rank; }

}  // namespace

const Tensor* last_weight(const TensorFile& file) {
  for (const char* name : {"fc.weight", MobileNetV2::kLastWeight})
    if (const Tensor* found = file.find(name); is_weight(found, 2)) {
      if (found->elements() == 0) fail(ErrorCategory::damaged_data, name, " ", found->shape(), " is empty");
      return found;
    }
  return nullptr;
}

ModelDescription describe_state(const TensorFile& file) {
  std::string model;
  const Tensor *first = file.find("conv1.weight"), *last = last_weight(file);
  if (is_weight(first, 4) && last) {
    model = name_of_resnet(file, first->shape(), last->shape()[1]);
    if (model.empty())
      fail(ErrorCategory::damaged_data, "no known network: conv1.weight ", first->shape(), ", fc.weight ",
           last->shape(), ", blocks per stage ", text_of(stages_of(file)), "; known are the ResNets of ",
           text_of(ResNetCifar::kDepths), " layers for CIFAR, ", text_of(ResNetImageNet::kDepths), " for ImageNet and ",
           text_of(ResNetImageNet::kMnistDepths), " for MNIST");
  } else {
    if (!is_weight(file.find(MobileNetV2::kFirstWeight), 4) || !last)
      fail(ErrorCategory::damaged_data,
           "no known network: expected a ResNet's conv1.weight and fc.weight or MobileNet-V2's ",
           MobileNetV2::kFirstWeight, " and ", MobileNetV2::kLastWeight, ", found ", file.tensors.size(), " tensors",
           file.tensors.empty() ? "" : ", the first is " + printable(file.tensors[0].name));
    model = "mobilenet_v2";
  }
  const bool cifar_names = ends_with_any(file, ".weight_quant.wgt_alpha"),
             imagenet_names = ends_with_any(file, ".weight_alpha");
  const int64_t classes = last->shape()[0], side = model_input(model)[1];
  const bool torchvision = side == 224;
  return {.model = model,
          .classes = classes,
          .has_alphas = cifar_names || imagenet_names,
          .variant =
              cifar_names || (!torchvision && !imagenet_names) ? QuantizerVariant::cifar : QuantizerVariant::imagenet,
          .first_last = torchvision && !imagenet_names ? FirstLastRule::none : FirstLastRule::apot_compat,
          .dataset = dataset_of(side, classes)};
}

}  // namespace apotnet
