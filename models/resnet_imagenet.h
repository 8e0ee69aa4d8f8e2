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
///
/// and the authors' ResNet-10/14/18 for MNIST: the same with one colour and a quarter of the channels, 16 to 128.
class ResNetImageNet : public Model {
 public:
  struct Plan {
    std::vector<int> blocks;  ///< per stage
    bool bottleneck = false;
    int64_t colours = 3, width = 64;  ///< of the image, and channels of the first stage

    int64_t widest() const { return width * 8 * (bottleneck ? 4 : 1); }  ///< channels in front of the linear layer
  };
  ResNetImageNet(const Plan& plan, int64_t classes, const QuantSettings& quant);
  Variable forward(const Variable& images) override;

  /// Error(internal) for a depth that is not among those below.
  static Plan imagenet(int depth);
  static Plan mnist(int depth);
  static constexpr int kDepths[] = {18, 34, 50, 101, 152};
  static constexpr int kMnistDepths[] = {10, 14, 18};

 private:
  FirstConv2d conv1_;
  BatchNorm bn1_;
  std::vector<std::unique_ptr<ResidualBlock>> blocks_;
  LastLinear fc_;
};

}  // namespace apotnet
