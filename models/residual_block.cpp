#include "models/residual_block.h"

namespace apotnet {

void ResidualBlock::add_shortcut(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant) {
  if (stride == 1 && in == out) return;
  shortcut_conv_ = std::make_unique<QuantConv2d>(in, out, 1, Conv2dGeometry{stride, 0, 1}, quant);
  shortcut_bn_ = std::make_unique<BatchNorm>(out);
  add_module("downsample.0", *shortcut_conv_);
  add_module("downsample.1", *shortcut_bn_);
}

Variable ResidualBlock::shortcut(const Variable& x) const {
  return shortcut_conv_ ? shortcut_bn_->forward(shortcut_conv_->forward(x)) : x;
}

BasicBlock::BasicBlock(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant)
    : conv1_(in, out, 3, {stride, 1, 1}, quant), conv2_(out, out, 3, {1, 1, 1}, quant), bn1_(out), bn2_(out) {
  add_module("conv1", conv1_);
  add_module("conv2", conv2_);
  add_module("bn1", bn1_);
  add_module("bn2", bn2_);
  add_shortcut(in, out, stride, quant);
}

Variable BasicBlock::forward(const Variable& x) {
  const NormRelu inner(bn1_, conv1_.forward(x));  // becomes codes in conv2, and never floats
  const Variable y = conv2_.forward(inner);
  return norm_add_relu(bn2_, y, shortcut(x));
}

Bottleneck::Bottleneck(int64_t in, int64_t out, int64_t stride, const QuantSettings& quant)
    : conv1_(in, out / 4, 1, {1, 0, 1}, quant),
      conv2_(out / 4, out / 4, 3, {stride, 1, 1}, quant),
      conv3_(out / 4, out, 1, {1, 0, 1}, quant),
      bn1_(out / 4),
      bn2_(out / 4),
      bn3_(out) {
  add_module("conv1", conv1_);
  add_module("bn1", bn1_);
  add_module("conv2", conv2_);
  add_module("bn2", bn2_);
  add_module("conv3", conv3_);
  add_module("bn3", bn3_);
  add_shortcut(in, out, stride, quant);
}

Variable Bottleneck::forward(const Variable& x) {
  const NormRelu narrow(bn1_, conv1_.forward(x));
  const NormRelu middle(bn2_, conv2_.forward(narrow));
  const Variable y = conv3_.forward(middle);
  return norm_add_relu(bn3_, y, shortcut(x));
}

}  // namespace apotnet
