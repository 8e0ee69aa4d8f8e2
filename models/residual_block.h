#pragma once

#include <memory>

#include "layers/batch_norm.h"
#include "layers/quant_conv2d.h"
#include "models/model.h"

namespace apotnet {

/// Convolutions and batch norms with a shortcut around them (He et al., 2016): relu(convolutions(x) + shortcut(x)).
/// Where the shape changes the shortcut is a quantized 1x1 convolution with its own alphas and a batch norm; elsewhere
/// it carries the unquantized float. x [N, H, W, in] -> [N, H / stride, W / stride, out].
class ResidualBlock : public Module {
 public:
  virtual Variable forward(const Variable& x) = 0;
  /// The batch norm in front of the sum: with weights of 0 the block begins as an identity.
  virtual BatchNorm& last_norm() = 0;

 protected:
  /// Called after a block has named its own parts, so that checkpoints have torchvision's order.
  void add_shortcut(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant);
  Variable shortcut(const Variable& x) const;

 private:
  std::unique_ptr<QuantConv2d> shortcut_conv_;
  std::unique_ptr<BatchNorm> shortcut_bn_;
};

/// Two 3x3 convolutions, the first with the stride.
class BasicBlock : public ResidualBlock {
 public:
  BasicBlock(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant);
  Variable forward(const Variable& x) override;
  BatchNorm& last_norm() override { return bn2_; }

 private:
  QuantConv2d conv1_, conv2_;
  BatchNorm bn1_, bn2_;
};

/// 1x1 to a quarter of the channels, 3x3 with the stride, 1x1 to all of them.
class Bottleneck : public ResidualBlock {
 public:
  Bottleneck(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant);
  Variable forward(const Variable& x) override;
  BatchNorm& last_norm() override { return bn3_; }

 private:
  QuantConv2d conv1_, conv2_, conv3_;
  BatchNorm bn1_, bn2_, bn3_;
};

}  // namespace apotnet
