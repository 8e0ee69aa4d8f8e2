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

DeviceSteps::Recorded& DeviceSteps::recorded(const Batch& batch, double share) {
  const int64_t size = batch.labels.elements();
  const auto [place, is_new] = by_size_.try_emplace({size, share});
  Recorded& part = place->second;
  if (!is_new) return part;
  const Device device = device_of(model_);
  part.source = images_;
  if (batch.pixels.defined()) {
    part.source.images = Tensor(batch.pixels.shape(), DType::u8, device);
    part.source.labels = Tensor({size}, DType::s32, device);
    part.pixel_copy = device_.early_copy();
    part.label_copy = device_.early_copy();
  }
  const Shape& whole = part.source.images.shape();
  part.placements = Tensor({size, 4}, DType::s32, device);
  part.placement_copy = device_.early_copy();
  part.images = Tensor({size, whole[1], whole[2], whole[3]}, DType::f32, device);
  part.labels = Tensor({size}, DType::s32, device);
  part.work = device_.repeat();
  return part;
}

void DeviceSteps::copy_in(const Batch& batch, Recorded& part) {
  part.placement_copy->start(batch.placements, part.placements);
  if (!part.pixel_copy) return;
  part.pixel_copy->start(batch.pixels, part.source.images);
  part.label_copy->start(batch.labels, part.source.labels);
}

// Computes `share` of the gradients of a part's loss.
void DeviceSteps::train(Recorded& part, double share) {
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

void DeviceSteps::run(Recorded& part, double share) {
  std::vector<int64_t> counts;
  for_each_count(model_, [&](int64_t count) { counts.push_back(count + 1); });
  part.work->run([&] {
    train(part, share);
    if (share == 1)
      optimizer_.update();
    else
      add_gradients_to_totals();
    optimizer_.clear_gradients();
  });
  // What a step counts on the host is no part of the recorded one, whether it is called or not.
  auto counted = counts.begin();
  for_each_count(model_, [&](int64_t& count) { count = *counted++; });
}

void DeviceSteps::make_totals() {
  update_ = device_.repeat();
  constexpr int64_t kAligned = 64;  // elements: kernels read several at once
  std::vector<int64_t> begins{0};
  for (const auto& parameter : model_.parameters()) {
    parameters_.push_back(*parameter.variable);
    const int64_t elements = parameters_.back().value().elements();
    begins.push_back(begins.back() + (elements + kAligned - 1) / kAligned * kAligned);
  }
  all_totals_ = Tensor::zeros({begins.back()}, parameters_[0].value().dtype(), device_of(model_));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& value = parameters_[i].value();
    totals_.push_back(all_totals_.part(begins[i], value.elements()).reshaped(value.shape()));
  }
  has_total_.resize(parameters_.size());
}

void DeviceSteps::add_gradients_to_totals() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& gradient = parameters_[i].grad();
    if (!gradient.defined()) continue;
    has_total_[i] = true;
    call("accumulate", &ElementwiseKernels::accumulate, gradient, totals_[i]);
  }
}

void DeviceSteps::update_by_totals() {
  update_->run([&] {
    for (size_t i = 0; i < parameters_.size(); ++i)
      if (has_total_[i]) parameters_[i].set_grad(totals_[i]);
    optimizer_.update();
    optimizer_.clear_gradients();
    all_totals_.fill(0);
  });
}

std::optional<StepResult> DeviceSteps::step(const std::vector<Batch>& parts, double rate_factor) {
  if (parts.size() > 1 && !update_) make_totals();
  double images = 0;
  for (const Batch& part : parts) images += static_cast<double>(part.labels.elements());
  optimizer_.set_rate_factor(rate_factor);
  const size_t next = 1 - turn_;
  Late& late = late_[next];
  late.count = parts.size();
  while (late.parts.size() < late.count) late.parts.push_back({device_.late_copy(), device_.late_copy(), {}});
  for (size_t i = 0; i < parts.size(); ++i) {
    const double share = static_cast<double>(parts[i].labels.elements()) / images;
    Recorded& part = recorded(parts[i], share);
    copy_in(parts[i], part);
    run(part, share);
    late.parts[i].loss->start(part.loss);
    late.parts[i].logits->start(part.logits);
    late.parts[i].labels = parts[i].labels;
  }
  if (parts.size() > 1) update_by_totals();
  late.trouble->start(device_.trouble());
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
