#include "models/resnet_cifar.h"

#include "core/base/error.h"
#include "core/ops/pool.h"

namespace apotnet {

ResNetCifar::ResNetCifar(int depth, int64_t classes, const QuantSettings& quant)
    : conv1_(3, 16, 3, 1, 1, quant.first_last), bn1_(16), fc_(64, classes, quant.first_last) {
  require(depth > 2 && (depth - 2) % 6 == 0, "a CIFAR ResNet has 6 n + 2 layers, not ", depth);
  add_module("conv1", conv1_);
  add_module("bn1", bn1_);
  int64_t in = 16;
  for (int stage = 1; stage <= 3; ++stage)
    for (int i = 0; i < (depth - 2) / 6; ++i) {
      const int64_t out = int64_t{8} << stage;
      blocks_.push_back(std::make_unique<BasicBlock>(in, out, stage > 1 && i == 0 ? 2 : 1, quant));
      add_module(text("layer", stage, ".", i), *blocks_.back());
      in = out;
    }
  add_module("fc", fc_);
}

Variable ResNetCifar::forward(const Variable& images) {
  Variable x = NormRelu(bn1_, conv1_.forward(images)).value();
  for (const auto& block : blocks_) x = block->forward(x);
  return fc_.forward(global_average_pool(x));
}

}  // namespace apotnet
