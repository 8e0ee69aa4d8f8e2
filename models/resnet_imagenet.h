#pragma once

#include <memory>
#include <vector>

#include "layers/first_last.h"
#include "models/residual_block.h"

namespace apotnet {

/// ResNet-18/34/50/101/152 for 224x224 images, with torchvision's names (He et al., 2016; the stride of a bottleneck is
/// on its 3x3, as in torchvision):
///
///   conv 7x7 stride 2, 3 -> 64, 8-bit weights; batch norm, ReLU   112 x 112 x 64
///   max pool 3x3 stride 2                                          56 x  56 x 64
///   four stages of blocks, all but the first begin with stride 2   56, 28, 14, 7; 64, 128, 256, 512 channels
///   average pool, linear 512 -> classes, 8-bit weights             bottlenecks: four times the channels
class ResNetImageNet : public Model {
 public:
  ResNetImageNet(int depth, int64_t classes, const QuantSettings& quant);
  Variable forward(const Variable& images) override;

  /// Blocks per stage, and whether they are bottlenecks. Error(internal) for another depth.
  struct Plan {
    std::vector<int> blocks;
    bool bottleneck;
    int64_t widest() const { return bottleneck ? 2048 : 512; }  ///< channels in front of the linear layer
  };
  static Plan plan(int depth);
  static constexpr int kDepths[] = {18, 34, 50, 101, 152};

 private:
  FirstConv2d conv1_;
  BatchNorm bn1_;
  std::vector<std::unique_ptr<ResidualBlock>> blocks_;
  LastLinear fc_;
};

}  // namespace apotnet
