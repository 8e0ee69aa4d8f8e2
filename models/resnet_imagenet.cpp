#include "models/resnet_imagenet.h"

#include "core/base/error.h"
#include "core/ops/pool.h"

namespace apotnet {

ResNetImageNet::Plan ResNetImageNet::plan(int depth) {
  switch (depth) {
    case 18:
      return {{2, 2, 2, 2}, false};
    case 34:
      return {{3, 4, 6, 3}, false};
    case 50:
      return {{3, 4, 6, 3}, true};
    case 101:
      return {{3, 4, 23, 3}, true};
    case 152:
      return {{3, 8, 36, 3}, true};
    default:
      fail(ErrorCategory::internal, "an ImageNet ResNet has 18, 34, 50, 101 or 152 layers, not ", depth);
  }
}

ResNetImageNet::ResNetImageNet(int depth, int64_t classes, const QuantSettings& quant)
    : conv1_(3, 64, 7, 2, 3, quant.first_last), bn1_(64), fc_(plan(depth).widest(), classes, quant.first_last) {
  add_module("conv1", conv1_);
  add_module("bn1", bn1_);
  const auto [stages, bottleneck] = plan(depth);
  int64_t in = 64, out = bottleneck ? 256 : 64;
  for (size_t stage = 0; stage < stages.size(); ++stage, out *= 2)
    for (int i = 0; i < stages[stage]; ++i) {
      const int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      if (bottleneck)
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
