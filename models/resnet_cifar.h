#pragma once

#include <memory>
#include <vector>

#include "layers/first_last.h"
#include "models/residual_block.h"

namespace apotnet {

/// ResNet-8/14/20/32/44/56/110 for 32x32 images:
///
///   conv 3x3, 3 -> 16, 8-bit weights; batch norm, ReLU        32 x 32 x 16
///   (depth - 2) / 6 blocks of 16 channels                     32 x 32 x 16
///   (depth - 2) / 6 blocks of 32 channels, the first stride 2 16 x 16 x 32
///   (depth - 2) / 6 blocks of 64 channels, the first stride 2  8 x  8 x 64
///   average pool 8, linear 64 -> classes, 8-bit weights
class ResNetCifar : public Model {
 public:
  ResNetCifar(int depth, int64_t classes, const QuantSettings& quant);
  Variable forward(const Variable& images) override;

  static constexpr int kDepths[] = {8, 14, 20, 32, 44, 56, 110};

 private:
  FirstConv2d conv1_;
  BatchNorm bn1_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  LastLinear fc_;
};

}  // namespace apotnet
