#include "tools/training/device_steps.h"

#include <utility>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "layers/batch_norm.h"
#include "tools/training/evaluate.h"

namespace apotnet {

Device device_of(Model& model) { return model.parameters().at(0).variable->value().device(); }

ResidentImages make_resident(const Dataset& dataset, int pad, Device device) {
  const int64_t count = dataset.size(), channels = dataset.channels();
  Tensor images({count, dataset.height(), dataset.width(), channels}, DType::u8), labels({count}, DType::s32),
      tables({channels, 256}, DType::f32);
  const auto bytes = static_cast<size_t>(dataset.image_bytes());
  for (int64_t i = 0; i < count; ++i) {
    dataset.read(i, images.data<uint8_t>().subspan(static_cast<size_t>(i) * bytes, bytes));
    labels.data<int32_t>()[static_cast<size_t>(i)] = dataset.label(i);
  }
  const Normaliser normalise(dataset.info().mean, dataset.info().std);
  for (int c = 0; c < channels; ++c)
    for (int value = 0; value < 256; ++value)
      tables.data<float>()[static_cast<size_t>(c * 256 + value)] = normalise(static_cast<uint8_t>(value), c);
  return {images.on(device), labels.on(device), tables.on(device), pad};
}

DeviceSteps::DeviceSteps(Accelerator& device, Model& model, Sgd& optimizer, const ResidentImages& images,
                         double label_smoothing)
    : device_(device), model_(model), optimizer_(optimizer), images_(images), label_smoothing_(label_smoothing) {
  for (Late& late : late_) late = {device.late_copy(), device.late_copy(), device.late_copy(), {}};
}

DeviceSteps::Recorded& DeviceSteps::recorded(const Batch& batch) {
  const int64_t count = batch.labels.elements();
  Recorded& step = by_size_[count];
  if (step.work) return step;
  const Device device = device_of(model_);
  const Shape& whole = images_.images.shape();
  step.placements = Tensor(batch.placements.shape(), DType::s32, device);
  step.images = Tensor({count, whole[1], whole[2], whole[3]}, DType::f32, device);
  step.labels = Tensor({count}, DType::s32, device);
  step.work = device_.repeat();
  return step;
}

void DeviceSteps::run(Recorded& step) {
  bool called = false;
  step.work->run([&] {
    called = true;
    call("gather_batch", &BatchKernels::gather_batch, images_, step.placements, step.images, step.labels);
    const Variable logits = model_.forward(Variable(step.images));
    Variable loss = cross_entropy(logits, step.labels, label_smoothing_);
    loss.backward();
    optimizer_.update();
    optimizer_.clear_gradients();
    step.logits = logits.value();
    step.loss = loss.value();
  });
  if (called) return;
  // What a step counts on the host is not part of the recorded one.
  model_.for_each_module([](Module& module) {
    if (auto* norm = dynamic_cast<BatchNorm*>(&module)) ++norm->num_batches_tracked.data<int64_t>()[0];
  });
}

std::optional<StepResult> DeviceSteps::step(const Batch& batch, double rate_factor) {
  Recorded& now = recorded(batch);
  now.placements.copy_from({batch.placements.raw(), batch.placements.bytes()});
  optimizer_.set_rate_factor(rate_factor);
  run(now);
  turn_ = 1 - turn_;
  Late& late = late_[turn_];
  late.loss->start(now.loss);
  late.logits->start(now.logits);
  late.trouble->start(device_.trouble());
  late.labels = batch.labels;
  const bool before = std::exchange(pending_, true);
  if (!before) return {};
  turn_ = 1 - turn_;
  std::optional<StepResult> result = finish();
  turn_ = 1 - turn_;
  pending_ = true;
  return result;
}

std::optional<StepResult> DeviceSteps::finish() {
  if (!std::exchange(pending_, false)) return {};
  Late& late = late_[turn_];
  return StepResult{late.loss->finish().item(), count_correct(late.logits->finish(), late.labels),
                    late.labels.elements(), late.trouble->finish().item() != 0};
}

}  // namespace apotnet
