#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

/// Losses over logits [N, classes] and labels s32 [N] in [0, classes).
class LossKernels {
 public:
  virtual ~LossKernels() = default;

  /// loss (scalar): mean over the batch of the cross entropy between softmax(logits) and the smoothed label, which is
  /// (1 - smoothing) on its class and smoothing / classes everywhere (F13). `probabilities` [N, classes] =
  /// softmax(logits).
  virtual void cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, Tensor& loss,
                             Tensor& probabilities) const = 0;
  /// glogits = (probabilities - smoothed label) * gloss / N
  virtual void cross_entropy_backward(const Tensor& gloss, const Tensor& probabilities, const Tensor& labels,
                                      double smoothing, Tensor& glogits) const = 0;
};

}  // namespace apotnet
