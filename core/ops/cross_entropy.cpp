#include "core/ops/cross_entropy.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

Variable cross_entropy(const Variable& logits, const Tensor& labels, double smoothing) {
  const Shape& shape = logits.shape();
  require(shape.rank() == 2 && labels.shape() == Shape{shape[0]}, "cross entropy: logits ", shape, " and labels ",
          labels.shape(), " do not fit");
  // On a device the kernel looks at the labels (accelerator.h).
  for (const int32_t label : labels.on_cpu() ? labels.data<int32_t>() : std::span<const int32_t>())
    if (label < 0 || label >= shape[1])
      fail(ErrorCategory::damaged_data, "label ", label, " is outside the ", shape[1], " classes of the model");
  Tensor loss = logits.value().like({}), probabilities = logits.value().like(shape);
  call("cross_entropy", &LossKernels::cross_entropy, logits.value(), labels, smoothing, loss, probabilities);

  return Variable::record(loss, {logits}, [=](const Tensor& gloss, Gradients& gradients) {
    Tensor glogits = gloss.like(probabilities.shape());
    call("cross_entropy_backward", &LossKernels::cross_entropy_backward, gloss, probabilities, labels, smoothing,
         glogits);
    gradients.add(0, glogits);
  });
}

}  // namespace apotnet
