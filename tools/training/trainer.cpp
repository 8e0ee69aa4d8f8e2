#include "tools/training/trainer.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/elementwise.h"
#include "data/loader.h"
#include "layers/quant_conv2d.h"
#include "tools/fixed.h"
#include "tools/training/interrupt.h"
#include "tools/training/model_file.h"

namespace apotnet {
namespace {

using Clock = std::chrono::steady_clock;

// Images of the validation split that the statistics of the quantizers are taken from.
constexpr int64_t kObservedImages = 64;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void fail_diverged(Model& model, const std::string& where, double loss) {
  const std::string fault = first_unusable(model);
  fail(ErrorCategory::diverged, "training diverged in ", where, ": the loss is ", loss, " ",
       fault.empty() ? "though every parameter is finite" : "and tensor " + fault, "; try a lower lr or a warm-up");
}

// What `work` returns; an error of a layer that can go no further also says where in the training.
template <typename Work>
auto located(const std::string& where, Work&& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::diverged) throw;
    fail(ErrorCategory::diverged, "training diverged in ", where, ": ", error.what());
  }
}

std::string epoch_label(const Stage& stage) {
  return text(stage.position.stage, " epoch ", stage.position.epoch + 1, "/", stage.config.epochs);
}

}  // namespace

TrainResult Trainer::run() {
  start_ = Clock::now();
  watch_for_interrupt();
  try {
    TrainResult result = train_stages();
    status_.state = result.signal ? "interrupted" : "done";
    status_.exit_code = result.signal ? 128 + result.signal : 0;
    write_status();
    stop_watching();
    return result;
  } catch (const std::exception& error) {
    const Failure failure(error);
    status_.state = "failed";
    status_.exit_code = failure.exit_code;
    status_.message = failure.message;
    try {
      progress_.log(text("error: ", failure.message));
      write_status();
    } catch (const std::exception&) {
      // The first error tells more, and may well be why this one came.
    }
    throw;
  }
}

TrainResult Trainer::train_stages() {
  TrainResult result;
  result.folder = folder_->path().string();
  result.checkpoint = folder_->checkpoint("best");
  size_t number = options_.init.empty() ? 0 : run_.stages.size() - 1;
  std::string from = options_.init;
  if (resumed_) number = static_cast<size_t>(resumed_->position.stage_number);
  for (; number < run_.stages.size() && !interrupted(); ++number) {
    Stage stage = resumed_ ? resume_stage() : begin_stage(number, from);
    train_stage(stage);
    if (interrupted()) break;
    try {
      result.test = finish_stage(stage);
    } catch (const Interrupted&) {  // `last` is that of the end of the stage
      break;
    }
    if (number + 1 < run_.stages.size()) from = kept_checkpoint(stage, run_.stages[number + 1].init);
  }
  result.epochs = epochs_;
  result.steps = steps_;
  result.seconds = seconds_since(start_);
  if (number < run_.stages.size()) {  // an interrupt behind the last stage has nothing to end
    result.signal = interrupted();
    result.test = {};
    progress_.last_line(text("interrupted; saved ", folder_->checkpoint("last"),
                             "; to go on, give the same command again with --resume",
                             options_.out.empty() ? " " + folder_->path().string() : ""));
  }
  return result;
}

Stage Trainer::begin_stage(size_t number, const std::string& from) {
  Stage stage = make_stage(run_, number, data_.train->classes(), options_.device);
  if (!from.empty()) {
    progress_.line(text("starts from ", from, ": ", start_from(*stage.model, from).description()));
  }
  // From here on a resumed run needs no file of the stage before.
  save(stage, "last", true);
  return stage;
}

Stage Trainer::resume_stage() {
  const TrainingPosition position = resumed_->position;
  Stage stage = make_stage(run_, static_cast<size_t>(position.stage_number), data_.train->classes(), options_.device);
  restore(*resumed_, *stage.model, stage.optimizer);
  stage.position = position;
  resumed_.reset();
  // Until the next step reports.
  status_.stage = position.stage;
  status_.stage_number = position.stage_number + 1;
  status_.stages = static_cast<int64_t>(run_.stages.size());
  status_.epochs = stage.config.epochs;
  status_.epoch = std::min(position.epoch + 1, stage.config.epochs);
  status_.steps = batches_of(data_.train->size(), run_.data.batch);
  status_.step = position.epoch == stage.config.epochs ? status_.steps : position.batch;
  return stage;
}

void Trainer::train_stage(Stage& stage) {
  int64_t wide = 0;
  stage.model->for_each_module([&](Module& module) {
    if (const auto* conv = dynamic_cast<const QuantConv2d*>(&module)) wide += !conv->exact();
  });
  if (wide > 0)
    progress_.line(text(stage.position.stage, ": ", wide,
                        " convolutions have codes wider than 8 bits and are computed in float32, not in integers"));
  alpha_gradients_.emplace(*stage.model, stage.optimizer);
  if (options_.device != Device{})
    device_steps_ = std::make_unique<DeviceSteps>(cuda_device(), *stage.model, stage.optimizer, resident_,
                                                  stage.config.label_smoothing);
  while (stage.position.epoch < stage.config.epochs && !interrupted()) {
    const EpochMetrics metrics = train_epoch(stage);
    // An interrupt leaves the epoch to the resumed run, even behind its last step and in its validation.
    try {
      stop_if_interrupted();
      finish_epoch(stage, metrics);
    } catch (const Interrupted&) {
      save_inside_epoch(stage);
    }
  }
  device_steps_.reset();  // it refers to the stage
  alpha_gradients_.reset();
}

EpochMetrics Trainer::train_epoch(Stage& stage) {
  TrainingPosition& position = stage.position;
  epoch_start_ = Clock::now();
  epoch_images_ = 0;
  alpha_gradients_->clear();
  LoaderOptions options = loader_options(run_);
  if (device_steps_) options.content = resident_.images.defined() ? BatchContent::placements : BatchContent::pixels;
  const int64_t steps = batches_of(data_.train->size(), run_.data.batch);
  if (position.batch > steps)
    fail(ErrorCategory::configuration, folder_->checkpoint("last"), ": stands at batch ", position.batch,
         " of an epoch, but one of ", data_.train->name(), " has ", steps, "; is this other data?");
  const int64_t parts = batches_of(data_.train->size(), options.batch);
  Loader loader(data_.train, options,
                {.epoch = position.epoch, .batch = std::min(position.batch * run_.data.accumulate, parts)});
  stage.model->set_training(true);
  report(stage, steps);
  while (position.batch < steps) {
    train_step(stage, loader, steps);
    if (interrupted()) break;
    if (run_.checkpoint.every_steps > 0 && position.step % run_.checkpoint.every_steps == 0 && position.batch < steps)
      save_inside_epoch(stage);
    report(stage, steps);
  }
  if (device_steps_) add_device_result(stage, device_steps_->finish());
  const double seconds = seconds_since(epoch_start_), images = static_cast<double>(position.epoch_images);
  return {.stage = position.stage,
          .epoch = position.epoch + 1,
          .step = position.step,
          .samples_seen = position.samples_seen,
          .run_epoch = epochs_before(position.stage_number) + position.epoch + 1,
          .learning_rate = stage.config.lr * stage.schedule.factor(position.epoch, steps - 1, steps),
          .train_loss = position.epoch_loss / images,
          .train_top1 = 100 * static_cast<double>(position.epoch_correct) / images,
          .seconds = seconds,
          .images_per_second = static_cast<double>(epoch_images_) / seconds};
}

void Trainer::train_step(Stage& stage, Loader& loader, int64_t steps) {
  TrainingPosition& position = stage.position;
  const int64_t count = std::min(run_.data.batch, data_.train->size() - position.batch * run_.data.batch);
  const double rate_factor = stage.schedule.factor(position.epoch, position.batch, steps);
  ++steps_;
  images_ += count;
  epoch_images_ += count;
  alpha_gradients_->count_step();
  if (device_steps_) {
    begin_device_step(stage, loader, count, rate_factor);
    return;
  }
  for (int64_t left = count; left > 0;) {
    const Batch part = *loader.next();
    add_gradients(stage, part, count);
    left -= part.labels.elements();
  }
  stage.optimizer.step(rate_factor);
  stage.optimizer.clear_gradients();

  ++position.step;
  ++position.batch;
  position.samples_seen += count;
}

// The share of `part` in the gradients of the mean loss over the `count` images of a step.
void Trainer::add_gradients(Stage& stage, const Batch& part, int64_t count) {
  TrainingPosition& position = stage.position;
  const std::string where = text(epoch_label(stage), ", step ", position.step + 1);
  const Variable logits = located(where, [&] { return stage.model->forward(Variable(part.images)); });
  Variable loss = cross_entropy(logits, part.labels, stage.config.label_smoothing);
  const double value = loss.value().item();
  if (!std::isfinite(value)) fail_diverged(*stage.model, where, value);
  const int64_t images = part.labels.elements();
  if (images == count)
    loss.backward();
  else
    scale(loss, static_cast<double>(images) / static_cast<double>(count)).backward();
  position.epoch_images += images;
  position.epoch_correct += count_correct(logits.value(), part.labels);
  position.epoch_loss += value * static_cast<double>(images);
}

// The same on a device: the step is begun, and what the one before it left is added.
void Trainer::begin_device_step(Stage& stage, Loader& loader, int64_t count, double rate_factor) {
  std::vector<Batch> parts;
  for (int64_t left = count; left > 0; left -= parts.back().labels.elements()) parts.push_back(*loader.next());
  add_device_result(stage, device_steps_->step(parts, rate_factor));
  TrainingPosition& position = stage.position;
  ++position.step;
  ++position.batch;
  position.samples_seen += count;
}

void Trainer::add_device_result(Stage& stage, const std::optional<StepResult>& result) {
  if (!result) return;
  TrainingPosition& position = stage.position;
  if (result->trouble || !std::isfinite(result->loss_sum)) {
    const std::string where = text(epoch_label(stage), ", step ", position.step);
    if (first_unusable(*stage.model).empty())
      if (const std::string fault = fault_of_layers(*stage.model, *data_.train); !fault.empty())
        fail(ErrorCategory::diverged, "training diverged in ", where, ": ", fault);
    fail_diverged(*stage.model, where, result->loss_sum / static_cast<double>(result->count));
  }
  position.epoch_images += result->count;
  position.epoch_correct += result->correct;
  position.epoch_loss += result->loss_sum;
}

void Trainer::finish_epoch(Stage& stage, EpochMetrics metrics) {
  const std::string label = epoch_label(stage);
  const Evaluation found = located(label + ", validation", [&] {
    return evaluate(*stage.model, data_.validation->classes(), data_.validation, static_cast<int>(run_.data.workers),
                    stop_if_interrupted);
  });
  // The loss of a step is computed before its update, so the last update of an epoch shows only here.
  if (!std::isfinite(found.loss)) fail_diverged(*stage.model, label + ", validation", found.loss);
  metrics.validation_loss = found.loss;
  metrics.validation_top1 = found.top1;
  metrics.validation_top5 = found.top5;
  metrics.layers =
      layer_statistics(*stage.model, Loader(data_.validation, {.batch = kObservedImages, .workers = 0}).next()->images);
  alpha_gradients_->put_into(metrics.layers);
  TrainingPosition& position = stage.position;
  ++position.epoch;
  ++epochs_;
  position.batch = position.epoch_images = position.epoch_correct = 0;
  position.epoch_loss = 0;
  const bool best = found.top1 > position.best_metric;
  if (best) position.best_metric = found.top1;
  // `last` comes at the end: whatever a crash leaves of the others, the run resumed from it makes again.
  if (best) save(stage, "best", false);
  metrics_->append(metrics);
  save(stage, "last", true);
  status_.eta_seconds = seconds_left(position);
  write_status();
  for (const Dataset* dataset : {data_.train.get(), data_.validation.get()})
    if (const std::string remark = dataset->remark(); !remark.empty() && remarks_.insert(remark).second)
      progress_.line(remark);
  progress_.line(text(label, ": loss ", fixed(metrics.train_loss, 2), ", train ", fixed(metrics.train_top1, 2), " %, ",
                      data_.validation == data_.test ? "test " : "validation ", fixed(metrics.validation_top1, 2), " %",
                      best ? " (best)" : "", ", ", static_cast<int64_t>(metrics.images_per_second), " images/s"));
}

// The test split, and names of its own for the checkpoints of a stage that another one follows.
Evaluation Trainer::finish_stage(const Stage& stage) {
  const bool more = stage.position.stage_number + 1 < static_cast<int64_t>(run_.stages.size());
  std::error_code ignored;
  for (const char* name : {"last", "best"})
    // Once kept it stays: in a run resumed from an older checkpoint `best` may be of the next stage already.
    if (const std::string kept = kept_checkpoint(stage, name); more && !std::filesystem::exists(kept, ignored))
      keep_under_name(folder_->checkpoint(name), kept);
  const OpenedModel best = open_model(more ? kept_checkpoint(stage, "best") : folder_->checkpoint("best"), {});
  if (options_.device != Device{}) best.model->move_to(options_.device);
  Evaluation found = evaluate(*best.model, best.settings.classes, data_.test, static_cast<int>(run_.data.workers),
                              stop_if_interrupted);
  metrics_->append(TestMetrics{.stage = stage.position.stage,
                               .epoch = stage.position.epoch,
                               .run_epoch = epochs_before(stage.position.stage_number) + stage.position.epoch,
                               .test_loss = found.loss,
                               .test_top1 = found.top1,
                               .test_top5 = found.top5,
                               .seconds = found.seconds});
  const std::string result = text(stage.position.stage, ": test ", fixed(found.top1, 2), " %");
  if (more)
    progress_.line(result);
  else
    progress_.log(result);  // printed as the result of the run
  return found;
}

std::string Trainer::kept_checkpoint(const Stage& stage, const std::string& name) const {
  return folder_->checkpoint(stage.position.stage + "." + name);
}

void Trainer::save_inside_epoch(Stage& stage) {
  if (device_steps_) add_device_result(stage, device_steps_->finish());
  // A step may leave what its successor stops at; the checkpoint before it is worth more then.
  if (first_unusable(*stage.model).empty()) save(stage, "last", true);
}

void Trainer::save(const Stage& stage, const std::string& name, bool keep_former) {
  store_engines();  // first: no checkpoint without the engines that led to it
  TrainingPosition position = stage.position;
  position.device = device_name();
  save_checkpoint(folder_->checkpoint(name), keep_former ? folder_->checkpoint(name + ".prev") : "", *stage.model,
                  stage.optimizer, position, run_.seed, config_json_, data_.train->class_names());
}

void Trainer::store_engines() {
  if (!engines_) return;
  if (const std::string remark = engines_->update(); !remark.empty()) warn(remark);
}

// Progress on stderr and in status.json, each when it is time to.
void Trainer::report(const Stage& stage, int64_t steps) {
  const TrainingPosition& position = stage.position;
  const double images = static_cast<double>(std::max<int64_t>(position.epoch_images, 1));
  const double seconds = seconds_since(epoch_start_);
  const double loss = position.epoch_loss / images, top1 = 100 * static_cast<double>(position.epoch_correct) / images;
  status_.stage = position.stage;
  status_.stage_number = position.stage_number + 1;
  status_.stages = static_cast<int64_t>(run_.stages.size());
  status_.epoch = position.epoch + 1;
  status_.epochs = stage.config.epochs;
  status_.step = position.batch;
  status_.steps = steps;
  status_.train_loss = loss;
  status_.train_top1 = top1;
  status_.images_per_second = seconds > 0 ? static_cast<double>(epoch_images_) / seconds : 0;
  status_.eta_seconds = seconds_left(position);
  const double rate = status_.images_per_second;
  const auto left = static_cast<double>(data_.train->size() - position.epoch_images);
  progress_.update({.label = epoch_label(stage),
                    .images = position.epoch_images,
                    .images_per_epoch = data_.train->size(),
                    .images_per_second = rate,
                    .loss = loss,
                    .top1 = top1,
                    .seconds_left = rate > 0 ? left / rate : -1,
                    .all_seconds = images_ > 0 ? status_.eta_seconds : -1});
  if (status_file_->due()) write_status();
}

void Trainer::write_status() {
  status_.seconds = seconds_since(start_);
  status_file_->write(status_);
}

int64_t Trainer::epochs_before(int64_t stage_number) const {
  int64_t epochs = 0;
  for (size_t i = 0; i < static_cast<size_t>(stage_number); ++i) epochs += run_.stages[i].epochs;
  return epochs;
}

// All that remains at the rate of this process so far, validation and saving included; 0 while there is no rate.
double Trainer::seconds_left(const TrainingPosition& position) const {
  int64_t epochs = 0;
  for (size_t i = static_cast<size_t>(position.stage_number); i < run_.stages.size(); ++i)
    epochs += run_.stages[i].epochs;
  const int64_t left = epochs * data_.train->size() - position.samples_seen;
  return images_ > 0 ? static_cast<double>(left) * seconds_since(start_) / static_cast<double>(images_) : 0;
}

}  // namespace apotnet
