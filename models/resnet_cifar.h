#pragma once

#include <memory>

#include "layers/batch_norm.h"
#include "layers/first_last.h"
#include "layers/quant_conv2d.h"
#include "models/model.h"

namespace apotnet {

/// Two 3x3 convolutions with batch norm and a shortcut around them (He et al., 2016). Where the shape changes the
/// shortcut is a quantized 1x1 convolution with its own alphas; elsewhere it carries the unquantized float.
class BasicBlock : public Module {
 public:
  BasicBlock(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant);
  Variable forward(const Variable& x);

 private:
  QuantConv2d conv1_, conv2_;
  BatchNorm bn1_, bn2_;
  std::unique_ptr<QuantConv2d> shortcut_conv_;
  std::unique_ptr<BatchNorm> shortcut_bn_;
};

/// ResNet-20/32/44/56/110 for 32x32 images:
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

 private:
  FirstConv2d conv1_;
  BatchNorm bn1_;
  std::vector<std::unique_ptr<BasicBlock>> blocks_;
  LastLinear fc_;
};

}  // namespace apotnet
