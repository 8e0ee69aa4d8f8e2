#include "tools/training/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/io/printable.h"
#include "core/kernels/accelerator.h"
#include "core/ops/cross_entropy.h"
#include "data/loader.h"
#include "deploy/compile.h"
#include "tools/json_text.h"
#include "tools/training/device_steps.h"

namespace apotnet {
namespace {

constexpr int64_t kPixelsPerBatch = 200 * 32 * 32;

}  // namespace

int64_t count_correct(const Tensor& logits, const Tensor& labels, int64_t top) {
  const int64_t classes = logits.size(1);
  int64_t correct = 0;
  for (int64_t n = 0; n < logits.size(0); ++n) {
    const auto row = logits.data<float>().subspan(static_cast<size_t>(n * classes), static_cast<size_t>(classes));
    const auto label = static_cast<size_t>(labels.data<int32_t>()[static_cast<size_t>(n)]);
    int64_t ahead = 0;
    for (size_t c = 0; c < row.size(); ++c) ahead += row[c] > row[label] || (row[c] == row[label] && c < label);
    // A row of NaN is nobody's prediction.
    correct += ahead < top && row[label] == row[label];
  }
  return correct;
}

namespace {

// Runs `logits_of` over all of `dataset`.
template <typename F>
Evaluation evaluate_with(F&& logits_of, int64_t classes, const std::shared_ptr<const Dataset>& dataset, int workers,
                         const std::function<void()>& between = {}) {
  if (dataset->classes() != classes)
    fail(ErrorCategory::configuration, "the data set ", dataset->name(), " has ", dataset->classes(),
         " classes, the model ", classes);
  const auto start = std::chrono::steady_clock::now();
  const NoGrad no_grad;

  Evaluation result;
  result.logits = Tensor({dataset->size(), classes}, DType::f32);
  result.labels = Tensor({dataset->size()}, DType::i64);
  int64_t top1 = 0, top5 = 0;
  double loss = 0;
  const int64_t batch_size = std::max<int64_t>(16, kPixelsPerBatch / (int64_t{dataset->height()} * dataset->width()));
  Loader loader(dataset, {.batch = batch_size, .workers = workers});
  while (const auto batch = loader.next()) {
    const Tensor logits = logits_of(batch->images);
    const int64_t count = batch->labels.elements();
    loss += cross_entropy(Variable(logits), batch->labels).value().item() * static_cast<double>(count);
    top1 += count_correct(logits, batch->labels);
    top5 += count_correct(logits, batch->labels, 5);
    std::ranges::copy(logits.data<float>(), result.logits.data<float>().begin() + result.count * classes);
    std::ranges::copy(batch->labels.data<int32_t>(), result.labels.data<int64_t>().begin() + result.count);
    result.count += count;
    if (between) between();
  }
  const auto total = static_cast<double>(std::max<int64_t>(result.count, 1));
  result.top1 = 100 * static_cast<double>(top1) / total;
  result.top5 = 100 * static_cast<double>(top5) / total;
  result.loss = loss / total;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace

void require_channels(Model& model, const std::string& dataset, int64_t channels) {
  const Shape& first = model.parameters().at(0).variable->value().shape();  // that of the first convolution
  if (first.rank() == 4 && first[3] != channels)
    fail(ErrorCategory::configuration, "the images of ", dataset, " have ", channels,
         channels == 1 ? " channel" : " channels", ", the model takes ", first[3]);
}

void require_same_classes(const std::string& checkpoint, const std::vector<std::string>& trained_on,
                          const Dataset& dataset) {
  // As a checkpoint holds them: the name of a folder may be any bytes.
  const auto stored = [](const std::string& name) { return json_text(nlohmann::json(name)); };
  const std::vector<std::string>& names = dataset.class_names();
  for (size_t i = 0; i < std::min(names.size(), trained_on.size()); ++i)
    if (stored(names[i]) != stored(trained_on[i]))
      fail(ErrorCategory::configuration, checkpoint, ": class ", i, " of ", dataset.name(), " is ", printable(names[i]),
           ", that of the checkpoint ", printable(trained_on[i]), "; give the data it was trained on");
}

Evaluation evaluate(Model& model, int64_t classes, const std::shared_ptr<const Dataset>& dataset, int workers,
                    const std::function<void()>& between) {
  require_channels(model, dataset->name(), dataset->channels());
  struct InEvaluation {
    Model& model;
    bool was_training = model.training();
    explicit InEvaluation(Model& own) : model(own) { model.set_training(false); }
    ~InEvaluation() { model.set_training(was_training); }
  } in_evaluation(model);
  const Device device = device_of(model);
  const auto logits_of = [&](const Tensor& images) {
    return model.forward(Variable(images.on(device))).value().on(Device{});
  };
  const Evaluation result = evaluate_with(logits_of, classes, dataset, workers, between);
  if (device != Device{} && cuda_device().take_trouble()) {
    const std::string fault = fault_of_layers(model, *dataset);
    fail(ErrorCategory::diverged, fault.empty() ? "a layer cannot compute, and only on the device" : fault);
  }
  return result;
}

std::string fault_of_layers(Model& model, const Dataset& dataset) {
  model.move_to(Device{});
  model.set_training(false);
  const NoGrad no_grad;
  try {
    model.forward(Variable(Tensor::zeros({1, dataset.height(), dataset.width(), dataset.channels()}, DType::f32)));
  } catch (const Error& error) {
    if (error.category() == ErrorCategory::diverged) return error.what();
    throw;
  }
  return "";
}

Evaluation evaluate_integer(Model& model, int64_t classes, const std::shared_ptr<const Dataset>& dataset, Device device,
                            int workers) {
  require_channels(model, dataset->name(), dataset->channels());
  const auto network = compile(model, dataset->height(), dataset->width(), dataset->channels(), device);
  return evaluate_with([&](const Tensor& images) { return network->run(images); }, classes, dataset, workers);
}

}  // namespace apotnet
