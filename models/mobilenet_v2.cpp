#include "models/mobilenet_v2.h"

#include "core/base/error.h"
#include "core/ops/elementwise.h"
#include "core/ops/pool.h"

namespace apotnet {
namespace {

constexpr int64_t kFirstChannels = 32;

/// Table 2 of the paper: expansion, output channels, blocks and the stride of the first of them.
struct Stage {
  int64_t expansion, channels;
  int blocks;
  int64_t stride;
};
constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                             {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

// A convolution of relu6(norm(x)). A quantizer clips by itself.
Variable through(const QuantConv2d& conv, const NormRelu& x) {
  return conv.weight_quantizer ? conv.forward(x) : conv.forward(relu6(x.value()));
}

}  // namespace

InvertedResidual::InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion,
                                   const QuantSettings& quant)
    : depthwise_(in * expansion, in * expansion, 3, {stride, 1, in * expansion}, quant),
      depthwise_bn_(in * expansion),
      project_(in * expansion, out, 1, {1, 0, 1}, quant),
      project_bn_(out),
      residual_(stride == 1 && in == out) {
  int place = 0;
  if (expansion > 1) {
    expand_ = std::make_unique<QuantConv2d>(in, in * expansion, 1, Conv2dGeometry{1, 0, 1}, quant, InputSign::both);
    expand_bn_ = std::make_unique<BatchNorm>(in * expansion);
    add_module("conv.0.0", *expand_);
    add_module("conv.0.1", *expand_bn_);
    place = 1;
  }
  add_module(text("conv.", place, ".0"), depthwise_);
  add_module(text("conv.", place, ".1"), depthwise_bn_);
  add_module(text("conv.", place + 1), project_);
  add_module(text("conv.", place + 2), project_bn_);
}

Variable InvertedResidual::forward(const Variable& x) {
  require(expand_ != nullptr, name(), ": a block without expansion stands behind a ReLU6");
  const Variable y = behind_expansion(NormRelu(*expand_bn_, expand_->forward(x)));
  return residual_ ? add(x, y) : y;
}

Variable InvertedResidual::forward(const NormRelu& x) {
  require(expand_ == nullptr && !residual_, name(), ": only a block without expansion takes a ReLU6");
  return behind_expansion(x);
}

Variable InvertedResidual::behind_expansion(const NormRelu& x) {
  const NormRelu middle(depthwise_bn_, through(depthwise_, x));
  return project_bn_.forward(through(project_, middle));
}

MobileNetV2::MobileNetV2(int64_t classes, const QuantSettings& quant)
    : first_(3, kFirstChannels, 3, 2, 1, quant.first_last),
      first_bn_(kFirstChannels),
      last_(kStages[6].channels, kLastChannels, 1, {1, 0, 1}, quant, InputSign::both),
      last_bn_(kLastChannels),
      classifier_(kLastChannels, classes, quant.first_last) {
  add_module("features.0.0", first_);
  add_module("features.0.1", first_bn_);
  int64_t in = kFirstChannels;
  for (const Stage& stage : kStages)
    for (int i = 0; i < stage.blocks; ++i) {
      blocks_.push_back(
          std::make_unique<InvertedResidual>(in, stage.channels, i == 0 ? stage.stride : 1, stage.expansion, quant));
      add_module(text("features.", blocks_.size()), *blocks_.back());
      in = stage.channels;
    }
  add_module(text("features.", blocks_.size() + 1, ".0"), last_);
  add_module(text("features.", blocks_.size() + 1, ".1"), last_bn_);
  add_module("classifier.1", classifier_);
}

Variable MobileNetV2::forward(const Variable& images) {
  Variable x = blocks_[0]->forward(NormRelu(first_bn_, first_.forward(images)));
  for (size_t i = 1; i < blocks_.size(); ++i) x = blocks_[i]->forward(x);
  const Variable features = relu6(last_bn_.forward(last_.forward(x)));
  return classifier_.forward(global_average_pool(features));
}

}  // namespace apotnet
