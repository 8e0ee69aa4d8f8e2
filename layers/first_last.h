#pragma once

#include "layers/module.h"
#include "layers/quant_settings.h"

namespace apotnet {

/// The first convolution of a network: weights in 8 bits by a FirstLastRule, input and sums in float, no bias (F12).
/// x [N, H, W, in] -> [N, OH, OW, out].
class FirstConv2d : public Module {
 public:
  FirstConv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, FirstLastRule rule);
  Variable forward(const Variable& x) const;

  Variable weight;  ///< [out, kernel, kernel, in]

 protected:
  void initialize_own(Philox& random) override;

 private:
  int64_t stride_, padding_;
  FirstLastRule rule_;
};

/// The last layer of a network: x [N, in] -> [N, out], weights in 8 bits by a FirstLastRule, bias float (F12).
class LastLinear : public Module {
 public:
  LastLinear(int64_t in, int64_t out, FirstLastRule rule);
  Variable forward(const Variable& x) const;

  Variable weight;  ///< [out, in]
  Variable bias;    ///< [out]

 protected:
  void initialize_own(Philox& random) override;

 private:
  FirstLastRule rule_;
};

/// N(0, sqrt(2 / (kernel * kernel * out / groups))) for every weight of a convolution [out, kernel, kernel, in /
/// groups].
void initialize_convolution(Variable& weight, Philox& random, int64_t groups = 1);

}  // namespace apotnet
