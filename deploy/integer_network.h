#pragma once

#include <string>
#include <vector>

#include "core/kernels/cpu/codes/codes_conv.h"
#include "core/tensor/tensor.h"

namespace apotnet {

/// What an integer network keeps of an image on its way: float planes and codes.
struct NetworkPlan {
  Shape input;                ///< [1, H, W, C]
  std::vector<Shape> planes;  ///< f32; the first holds the input image
  std::vector<CodeFrame> frames;
  size_t output = 0;  ///< the plane with the logits
};

/// A trained network as integers: codes in, convolution to exact sums, thresholds, codes out; identity shortcuts and
/// the two ends are float. Its logits are those of evaluation on the same device, bit for bit. Made by compile()
/// (deploy/compile.h).
class IntegerNetwork {
 public:
  explicit IntegerNetwork(NetworkPlan plan) : plan_(std::move(plan)) {}
  virtual ~IntegerNetwork() = default;
  IntegerNetwork(const IntegerNetwork&) = delete;
  IntegerNetwork& operator=(const IntegerNetwork&) = delete;

  /// images [N, H, W, C] f32, normalised -> logits [N, classes]. Safe from several threads.
  virtual Tensor run(const Tensor& images) const = 0;
  /// One line per step.
  virtual std::vector<std::string> description() const = 0;
  int64_t classes() const { return plan_.planes[plan_.output].elements(); }

 protected:
  /// Error(internal) for images of another size.
  void require_fitting(const Tensor& images) const;

  const NetworkPlan plan_;
};

}  // namespace apotnet
