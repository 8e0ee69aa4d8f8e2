#include "models/resnet_imagenet.h"

#include "core/base/error.h"
#include "core/ops/pool.h"

namespace apotnet {

ResNetImageNet::Plan ResNetImageNet::imagenet(int depth) {
  switch (depth) {
    case 18:
      return {.blocks = {2, 2, 2, 2}};
    case 34:
      return {.blocks = {3, 4, 6, 3}};
    case 50:
      return {.blocks = {3, 4, 6, 3}, .bottleneck = true};
    case 101:
      return {.blocks = {3, 4, 23, 3}, .bottleneck = true};
    case 152:
      return {.blocks = {3, 8, 36, 3}, .bottleneck = true};
    default:
      fail(ErrorCategory::internal, "an ImageNet ResNet has 18, 34, 50, 101 or 152 layers, not ", depth);
  }
}

ResNetImageNet::Plan ResNetImageNet::mnist(int depth) {
  switch (depth) {
    case 10:
      return {.blocks = {1, 1, 1, 1}, .colours = 1, .width = 16};
    case 14:
      return {.blocks = {2, 2, 1, 1}, .colours = 1, .width = 16};
    case 18:
      return {.blocks = {2, 2, 2, 2}, .colours = 1, .width = 16};
    default:
      fail(ErrorCategory::internal, "an MNIST ResNet has 10, 14 or 18 layers, not ", depth);
  }
}

ResNetImageNet::ResNetImageNet(const Plan& plan, int64_t classes, const QuantSettings& quant)
    : conv1_(plan.colours, plan.width, 7, 2, 3, quant.first_last),
      bn1_(plan.width),
      fc_(plan.widest(), classes, quant.first_last) {
  add_module("conv1", conv1_);
  add_module("bn1", bn1_);
  int64_t in = plan.width, out = plan.bottleneck ? 4 * plan.width : plan.width;
  for (size_t stage = 0; stage < plan.blocks.size(); ++stage, out *= 2)
    for (int i = 0; i < plan.blocks[stage]; ++i) {
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      if (plan.bottleneck)
        blocks_.push_back(std::make_unique<Bottleneck>(in, out, stride, quant));
      else
        blocks_.push_back(std::make_unique<BasicBlock>(in, out, stride, quant));
      add_module(text("layer", stage + 1, ".", i), *blocks_.back());
      in = out;
    }
  add_module("fc", fc_);
}

Variable ResNetImageNet::forward(const Variable& images) {
  Variable x = NormRelu(bn1_, conv1_.forward(images)).value();
  x = max_pool(x, {.window = 3, .stride = 2, .padding = 1});
  for (const auto& block : blocks_) x = block->forward(x);
  return fc_.forward(global_average_pool(x));
}

}  // namespace apotnet
