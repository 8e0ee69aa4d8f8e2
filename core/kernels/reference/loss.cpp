#include <algorithm>
#include <cmath>

#include "core/kernels/reference/reference.h"

namespace apotnet {

void ReferenceLoss::cross_entropy(const Tensor& logits, const Tensor& labels, double smoothing, Tensor& loss,
                                  Tensor& probabilities) const {
  dispatch_float(logits.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto classes = static_cast<size_t>(logits.size(1)), count = static_cast<size_t>(logits.size(0));
    double total = 0;
    for (size_t n = 0; n < count; ++n) {
      const auto row = logits.data<Float>().subspan(n * classes, classes);
      const double largest = *std::ranges::max_element(row);
      double sum = 0, mean = 0;
      for (const Float logit : row) {
        sum += std::exp(logit - largest);
        mean += logit / static_cast<double>(classes);
      }
      const double log_sum = largest + std::log(sum);
      for (size_t c = 0; c < classes; ++c)
        probabilities.data<Float>()[n * classes + c] = static_cast<Float>(std::exp(row[c] - log_sum));
      const double own = row[static_cast<size_t>(labels.data<int32_t>()[n])];
      total += log_sum - (1 - smoothing) * own - smoothing * mean;
    }
    loss.data<Float>()[0] = static_cast<Float>(total / static_cast<double>(count));
  });
}

void ReferenceLoss::cross_entropy_backward(const Tensor& gloss, const Tensor& probabilities, const Tensor& labels,
                                           double smoothing, Tensor& glogits) const {
  dispatch_float(gloss.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto classes = static_cast<size_t>(probabilities.size(1));
    const auto p = probabilities.data<Float>();
    const double scale = gloss.data<Float>()[0] / static_cast<double>(probabilities.size(0));
    for (size_t i = 0; i < p.size(); ++i) {
      const bool own = i % classes == static_cast<size_t>(labels.data<int32_t>()[i / classes]);
      const double target = smoothing / static_cast<double>(classes) + (own ? 1 - smoothing : 0);
      glogits.data<Float>()[i] = static_cast<Float>((p[i] - target) * scale);
    }
  });
}

}  // namespace apotnet
