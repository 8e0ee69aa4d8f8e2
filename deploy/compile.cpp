#include "deploy/compile.h"

#include "deploy/lower.h"

namespace apotnet {

std::unique_ptr<IntegerNetwork> compile(Model& model, int64_t height, int64_t width, int64_t channels) {
  const bool was_training = model.training();
  model.set_training(false);
  const NoGrad no_grad;
  const Tensor image = Tensor::zeros({1, height, width, channels}, DType::f32);
  std::vector<TracedCall> calls;
  Tensor logits;
  {
    KernelTrace trace;
    logits = model.forward(Variable(image)).value();
    calls = trace.take();
  }
  model.set_training(was_training);
  return lower(calls, image, logits);
}

}  // namespace apotnet
