#pragma once

#include <memory>
#include <vector>

#include "layers/batch_norm.h"
#include "layers/first_last.h"
#include "layers/norm_relu.h"
#include "layers/quant_conv2d.h"
#include "models/model.h"

namespace apotnet {

/// An inverted residual with a linear bottleneck (Sandler et al., 2018): 1x1 to `expansion` times the channels, 3x3 of
/// each channel by itself with the stride, 1x1 down to `out` without a ReLU; around it an identity where the shape
/// stays. Its input is linear too, so the first convolution's quantizer has a sign.
/// x [N, H, W, in] -> [N, H / stride, W / stride, out].
class InvertedResidual : public Module {
 public:
  /// With expansion 1 there is no first convolution.
  InvertedResidual(int64_t in, int64_t out, int64_t stride, int64_t expansion, const QuantSettings& quant);
  Variable forward(const Variable& x);
  /// The same of relu6(norm(x)): the block behind the first convolution.
  Variable forward(const NormRelu& x);

 private:
  Variable behind_expansion(const NormRelu& x);

  std::unique_ptr<QuantConv2d> expand_;  // null where expansion is 1
  std::unique_ptr<BatchNorm> expand_bn_;
  QuantConv2d depthwise_;
  BatchNorm depthwise_bn_;
  QuantConv2d project_;
  BatchNorm project_bn_;
  bool residual_;
};

/// MobileNet-V2 for 224x224 images with torchvision's names:
///
///   conv 3x3 stride 2, 3 -> 32, 8-bit weights; batch norm, ReLU6     112 x 112 x 32
///   17 inverted residuals, 16 to 320 channels                          7 x   7 x 320
///   conv 1x1, 320 -> 1280; batch norm, ReLU6                           7 x   7 x 1280
///   average pool, linear 1280 -> classes, 8-bit weights
///
/// The authors promised it and never published it. ReLU6 in front of a quantizer is a ReLU here: the quantizer's
/// threshold, 6 at the start of the imagenet variant and learned, stands for the 6. There is no dropout.
class MobileNetV2 : public Model {
 public:
  MobileNetV2(int64_t classes, const QuantSettings& quant);
  Variable forward(const Variable& images) override;

  static constexpr int64_t kLastChannels = 1280;
  static constexpr const char* kFirstWeight = "features.0.0.weight";  ///< names that tell it
  static constexpr const char* kLastWeight = "classifier.1.weight";

 private:
  FirstConv2d first_;
  BatchNorm first_bn_;
  std::vector<std::unique_ptr<InvertedResidual>> blocks_;
  QuantConv2d last_;
  BatchNorm last_bn_;
  LastLinear classifier_;
};

}  // namespace apotnet
