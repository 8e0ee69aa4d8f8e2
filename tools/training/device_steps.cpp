#include "tools/training/device_steps.h"

#include <utility>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/elementwise.h"
#include "layers/batch_norm.h"
#include "tools/training/evaluate.h"

namespace apotnet {

Device device_of(Model& model) { return model.parameters().at(0).variable->value().device(); }

namespace {

// Calls `use` with the number of batches that each batch norm has seen.
template <typename F>
void for_each_count(Model& model, F&& use) {
  model.for_each_module([&](Module& module) {
    if (auto* norm = dynamic_cast<BatchNorm*>(&module)) use(norm->num_batches_tracked.data<int64_t>()[0]);
  });
}

}  // namespace

ResidentImages make_resident(const Dataset& dataset, int pad, Device device) {
  const int64_t count = dataset.size(), channels = dataset.channels();
  Tensor tables({channels, 256}, DType::f32);
  const Normaliser normalise(dataset.info().mean, dataset.info().std);
  for (int c = 0; c < channels; ++c)
    for (int value = 0; value < 256; ++value)
      tables.data<float>()[static_cast<size_t>(c * 256 + value)] = normalise(static_cast<uint8_t>(value), c);
  if (dataset.view(0).empty()) return {{}, {}, tables.on(device), pad};
  Tensor images({count, dataset.height(), dataset.width(), channels}, DType::u8), labels({count}, DType::s32);
  const auto bytes = static_cast<size_t>(dataset.image_bytes());
  for (int64_t i = 0; i < count; ++i) {
    dataset.read(i, images.data<uint8_t>().subspan(static_cast<size_t>(i) * bytes, bytes));
    labels.data<int32_t>()[static_cast<size_t>(i)] = dataset.label(i);
  }
  return {images.on(device), labels.on(device), tables.on(device), pad};
}

DeviceSteps::DeviceSteps(Accelerator& device, Model& model, Sgd& optimizer, const ResidentImages& images,
                         double label_smoothing)
    : device_(device), model_(model), optimizer_(optimizer), images_(images), label_smoothing_(label_smoothing) {
  for (Late& late : late_) late.trouble = device.late_copy();
}

DeviceSteps::Recorded& DeviceSteps::recorded(const std::vector<Batch>& parts) {
  int64_t count = 0;
  for (const Batch& batch : parts) count += batch.labels.elements();
  if (const auto known = by_size_.find(count); known != by_size_.end()) return known->second;
  Recorded step;
  const Device device = device_of(model_);
  const Shape& whole = parts[0].pixels.defined() ? parts[0].pixels.shape() : images_.images.shape();
  const int64_t largest = parts[0].labels.elements();
  // The parts take turns, so they share the room for their images.
  const Tensor images({largest, whole[1], whole[2], whole[3]}, DType::f32, device);
  for (const Batch& batch : parts) {
    const int64_t size = batch.labels.elements();
    Part part;
    part.source = images_;
    part.placements = Tensor({size, 4}, DType::s32, device);
    part.images = images.part(0, size);
    part.labels = Tensor({size}, DType::s32, device);
    part.placement_copy = device_.early_copy();
    if (batch.pixels.defined()) {
      part.source.images = Tensor(batch.pixels.shape(), DType::u8, device);
      part.source.labels = Tensor({size}, DType::s32, device);
      part.pixel_copy = device_.early_copy();
      part.label_copy = device_.early_copy();
    }
    step.parts.push_back(std::move(part));
  }
  step.work = device_.repeat();
  return by_size_.emplace(count, std::move(step)).first->second;
}

void DeviceSteps::copy_in(const Batch& batch, Part& part) {
  part.placement_copy->start(batch.placements, part.placements);
  if (!part.pixel_copy) return;
  part.pixel_copy->start(batch.pixels, part.source.images);
  part.label_copy->start(batch.labels, part.source.labels);
}

// Adds `share` of the gradients of a part's loss.
void DeviceSteps::train(Part& part, double share) {
  call("gather_batch", &BatchKernels::gather_batch, part.source, part.placements, part.images, part.labels);
  const Variable logits = model_.forward(Variable(part.images));
  Variable loss = cross_entropy(logits, part.labels, label_smoothing_);
  if (share == 1)
    loss.backward();
  else
    scale(loss, share).backward();
  part.logits = logits.value();
  part.loss = loss.value();
}

void DeviceSteps::run(Recorded& step) {
  double images = 0;
  for (const Part& part : step.parts) images += static_cast<double>(part.labels.elements());
  std::vector<int64_t> counts;
  for_each_count(model_, [&](int64_t count) { counts.push_back(count + static_cast<int64_t>(step.parts.size())); });
  step.work->run([&] {
    for (Part& part : step.parts) train(part, static_cast<double>(part.labels.elements()) / images);
    optimizer_.update();
    optimizer_.clear_gradients();
  });
  // What a step counts on the host is no part of the recorded one, whether it is called or not.
  auto counted = counts.begin();
  for_each_count(model_, [&](int64_t& count) { count = *counted++; });
}

void DeviceSteps::copy_out(const Recorded& step, const std::vector<Batch>& parts, Late& late) {
  late.count = parts.size();
  while (late.parts.size() < late.count) late.parts.push_back({device_.late_copy(), device_.late_copy(), {}});
  for (size_t i = 0; i < late.count; ++i) {
    late.parts[i].loss->start(step.parts[i].loss);
    late.parts[i].logits->start(step.parts[i].logits);
    late.parts[i].labels = parts[i].labels;
  }
  late.trouble->start(device_.trouble());
}

std::optional<StepResult> DeviceSteps::step(const std::vector<Batch>& parts, double rate_factor) {
  Recorded& now = recorded(parts);
  for (size_t i = 0; i < parts.size(); ++i) copy_in(parts[i], now.parts[i]);
  optimizer_.set_rate_factor(rate_factor);
  run(now);
  const size_t next = 1 - turn_;
  copy_out(now, parts, late_[next]);
  std::optional<StepResult> former = finish();
  turn_ = next;
  pending_ = true;
  return former;
}

std::optional<StepResult> DeviceSteps::finish() {
  if (!std::exchange(pending_, false)) return {};
  Late& late = late_[turn_];
  StepResult result{.trouble = late.trouble->finish().item() != 0};
  for (size_t i = 0; i < late.count; ++i) {
    LatePart& part = late.parts[i];
    const int64_t images = part.labels.elements();
    result.loss_sum += part.loss->finish().item() * static_cast<double>(images);
    result.correct += count_correct(part.logits->finish(), part.labels);
    result.count += images;
  }
  return result;
}

}  // namespace apotnet
