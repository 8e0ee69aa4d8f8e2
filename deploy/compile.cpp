#include "deploy/compile.h"

#include "core/base/error.h"
#include "deploy/batch_network.h"
#include "deploy/image_network.h"

namespace apotnet {

LoweredNetwork lower(Model& model, int64_t height, int64_t width, int64_t channels) {
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

std::unique_ptr<IntegerNetwork> compile(Model& model, int64_t height, int64_t width, int64_t channels, Device device) {
  std::string why;
  if (auto network = compile_if_possible(model, height, width, channels, device, why)) return network;
  fail(ErrorCategory::unavailable, why, "; use --engine float");
}

std::unique_ptr<IntegerNetwork> compile_if_possible(Model& model, int64_t height, int64_t width, int64_t channels,
                                                    Device device, std::string& why) {
  LoweredNetwork lowered;
  try {
    lowered = lower(model, height, width, channels);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unavailable) throw;
    why = error.what();
    return {};
  }
  // What a device lacks is no reason to compute in float.
  if (device == Device{}) return std::make_unique<ImageNetwork>(std::move(lowered.plan), std::move(lowered.steps));
  return std::make_unique<BatchNetwork>(std::move(lowered.plan), lowered.steps, device);
}

}  // namespace apotnet
