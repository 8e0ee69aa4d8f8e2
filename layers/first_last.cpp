#include "layers/first_last.h"

#include <cmath>

#include "core/ops/conv2d.h"
#include "core/ops/linear.h"
#include "core/ops/quantize.h"

namespace apotnet {

FirstConv2d::FirstConv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, FirstLastRule rule)
    : weight(Tensor::zeros({out, kernel, kernel, in}, DType::f32), true),
      stride_(stride),
      padding_(padding),
      rule_(rule) {
  add_parameter("weight", weight);
}

Variable FirstConv2d::forward(const Variable& x) const {
  return conv2d(x, round_to_8bit(weight, rule_, name()), {stride_, padding_, 1});
}

void FirstConv2d::initialize_own(Philox& random) { initialize_convolution(weight, random); }

LastLinear::LastLinear(int64_t in, int64_t out, FirstLastRule rule)
    : weight(Tensor::zeros({out, in}, DType::f32), true), bias(Tensor::zeros({out}, DType::f32), true), rule_(rule) {
  add_parameter("weight", weight);
  add_parameter("bias", bias);
}

Variable LastLinear::forward(const Variable& x) const { return linear(x, round_to_8bit(weight, rule_, name()), bias); }

void LastLinear::initialize_own(Philox& random) {
  const float bound = 1 / std::sqrt(static_cast<float>(weight.shape()[1]));
  for (Variable* parameter : {&weight, &bias})
    for (float& value : parameter->mutable_value().data<float>()) value = (2 * random.uniform() - 1) * bound;
}

void initialize_convolution(Variable& weight, Philox& random, int64_t groups) {
  const Shape& shape = weight.shape();
  const double deviation = std::sqrt(2.0 / static_cast<double>(shape[0] / groups * shape[1] * shape[2]));
  for (float& value : weight.mutable_value().data<float>()) value = static_cast<float>(random.normal() * deviation);
}

}  // namespace apotnet
