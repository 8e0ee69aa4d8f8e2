#include "tools/training/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "core/ops/cross_entropy.h"
#include "data/loader.h"
#include "data/registry.h"
#include "layers/quant_conv2d.h"
#include "models/registry.h"
#include "tools/fixed.h"
#include "tools/training/interrupt.h"

namespace apotnet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::shared_ptr<const Dataset> open_split(const RunConfig& run, Split split, int64_t limit) {
  const DatasetOptions generated{static_cast<uint64_t>(run.seed), run.data.train_count, run.data.test_count};
  const auto dataset = open_dataset(run.data.name, resolve_data_root("", run.data.root), split, generated);
  return limit > 0 ? take_first(dataset, limit) : dataset;
}

// Takes the weights of a checkpoint of the same network; where it has no alphas they stay fresh. Returns how many.
size_t start_from(Model& model, const std::string& path) {
  LoadReport report;
  try {
    report = load_state(model, read_checkpoint_file(path));
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(path)) throw;
    fail(error.category(), path, ": ", error.what());
  }
  for (const auto* names : {&report.missing, &report.unused})
    for (const std::string& name : *names)
      if (!name.ends_with("alpha") && !name.starts_with("optimizer."))
        fail(ErrorCategory::damaged_data, path, ": is of another network: ", name,
             names == &report.missing ? " is missing" : " has no place in this one");
  return report.missing.size();
}

// The alphas of the cifar variant have learning rates of their own; the imagenet variant has one group.
std::vector<ParameterGroup> parameter_groups(Module& model, const RunConfig& run, const StageConfig& stage) {
  const bool cifar = run.quant.variant == "cifar";
  const OptimizerConfig& settings = run.optimizer;
  ParameterGroup rest{"parameters", {}, stage.lr, stage.weight_decay};
  ParameterGroup activation{"activation alphas", {}, settings.activation_alpha_lr, settings.alpha_weight_decay};
  ParameterGroup weight{"weight alphas", {}, settings.weight_alpha_lr, settings.alpha_weight_decay};
  for (const Module::NamedParameter& parameter : model.parameters()) {
    ParameterGroup& group = !cifar || parameter.role == ParameterRole::ordinary ? rest
                            : parameter.role == ParameterRole::weight_alpha     ? weight
                                                                                : activation;
    group.parameters.push_back({parameter.name, *parameter.variable});
  }
  return {rest, activation, weight};
}

// The first parameter or buffer that is not a finite number, for the message of a diverged run.
std::string first_not_finite(Module& model) {
  const auto finite = [](const Tensor& tensor) {
    return tensor.dtype() != DType::f32 ||
           std::ranges::all_of(tensor.data<float>(), [](float v) { return std::isfinite(v); });
  };
  for (const auto& parameter : model.parameters())
    if (!finite(parameter.variable->value())) return parameter.name;
  for (const auto& buffer : model.buffers())
    if (!finite(*buffer.tensor)) return buffer.name;
  return "the logits (every parameter is finite)";
}

[[noreturn]] void fail_diverged(Model& model, const std::string& where, double loss) {
  fail(ErrorCategory::diverged, "training diverged in ", where, ": the loss is ", loss, ", first non-finite value in ",
       first_not_finite(model), "; try a lower lr or a warm-up");
}

// The logits; an error of a layer that can go no further also says at which step.
Variable forward(Model& model, const Tensor& images, const std::string& where) {
  try {
    return model.forward(Variable(images));
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::diverged) throw;
    fail(ErrorCategory::diverged, "training diverged in ", where, ": ", error.what());
  }
}

LoaderOptions loader_options(const RunConfig& run) {
  const auto has = [&](const char* name) {
    return std::ranges::find(run.data.augment, name) != run.data.augment.end();
  };
  return {.batch = run.data.batch,
          .shuffle = true,
          .augmentation = {.pad = has("pad_crop") ? 4 : 0, .flip = has("flip")},
          .seed = static_cast<uint64_t>(run.seed),
          .workers = static_cast<int>(run.data.workers)};
}

}  // namespace

struct Trainer::Stage {
  const StageConfig& config;
  std::unique_ptr<Model> model;
  Sgd optimizer;
  Schedule schedule;
  TrainingPosition position;
};

Trainer::Trainer(const ResolvedConfig& config, const TrainOptions& options)
    : run_(config.run),
      options_(options),
      config_json_(config.json),
      train_(open_split(run_, Split::train, run_.data.train_limit)),
      test_(open_split(run_, Split::test, run_.data.test_limit)),
      progress_(options.quiet) {
  validation_ = test_;  // the reference's way of choosing the best epoch
  if (run_.data.validation > 0) {
    const TrainValidation parts = split_validation(train_, run_.data.validation, static_cast<uint64_t>(run_.seed));
    train_ = parts.train;
    validation_ = parts.validation;
  }
  if (!options_.init.empty())
    start_from(*make_model(model_settings(run_, run_.stages.back(), train_->classes())), options_.init);
  // Last: a run that cannot start leaves no folder behind.
  folder_ = std::make_unique<RunFolder>(options.out, options.config_path, config.json);
}

TrainResult Trainer::run() {
  const auto start = Clock::now();
  watch_for_interrupt();
  std::string from = options_.init;
  const size_t first_stage = from.empty() ? 0 : run_.stages.size() - 1;
  for (size_t i = first_stage; i < run_.stages.size() && !interrupted(); ++i) {
    if (i > first_stage) from = folder_->checkpoint(run_.stages[i].init);
    train_stage(run_.stages[i], from);
  }
  TrainResult result{.folder = folder_->path().string(),
                     .checkpoint = folder_->checkpoint("best"),
                     .test = {},
                     .epochs = epochs_,
                     .steps = steps_,
                     .seconds = seconds_since(start),
                     .signal = interrupted()};
  if (result.signal) {
    progress_.line(steps_ == 0
                       ? "interrupted before the first step"
                       : text("interrupted; ", folder_->checkpoint("last"), " is saved; start from it with --init"));
    return result;
  }
  const OpenedModel best = open_model(result.checkpoint, {});
  result.test = evaluate(*best.model, best.settings.classes, test_, static_cast<int>(run_.data.workers));
  result.signal = interrupted();
  return result;
}

void Trainer::train_stage(const StageConfig& config, const std::string& from) {
  std::unique_ptr<Model> model = make_model(model_settings(run_, config, train_->classes()));
  Philox random(static_cast<uint64_t>(run_.seed), RandomStream::weights);
  model->initialize(random);
  if (!from.empty()) {
    const size_t fresh = start_from(*model, from);
    progress_.line(text("starts from ", from, fresh > 0 ? text("; ", fresh, " alphas start fresh") : ""));
  }
  const auto groups = parameter_groups(*model, run_, config);
  Stage stage{.config = config,
              .model = std::move(model),
              .optimizer = Sgd(groups, run_.optimizer.momentum),
              .schedule = {parse_schedule_kind(config.schedule), static_cast<double>(config.epochs), config.milestones,
                           config.gamma, config.warmup_epochs},
              .position = {.stage = config.name, .best_metric = -1}};
  stage.model->for_each_module([&](Module& module) {
    if (const auto* conv = dynamic_cast<const QuantConv2d*>(&module); conv && !conv->exact())
      progress_.line(conv->name() + ": codes wider than 8 bits, convolved in float32 instead of integers");
  });
  for (int64_t epoch = 0; epoch < config.epochs; ++epoch) {
    const EpochMetrics metrics = train_epoch(stage);
    if (interrupted()) return save(stage, "last", true);
    finish_epoch(stage, metrics);
  }
}

EpochMetrics Trainer::train_epoch(Stage& stage) {
  TrainingPosition& position = stage.position;
  const std::string label = text(position.stage, " epoch ", position.epoch + 1, "/", stage.config.epochs);
  const auto start = Clock::now();
  Loader loader(train_, loader_options(run_), {.epoch = position.epoch});
  const int64_t steps = loader.batches_per_epoch();
  int64_t images = 0, correct = 0;
  double loss_sum = 0, factor = 0;
  stage.model->set_training(true);
  while (const auto batch = loader.next()) {
    const std::string where = text(label, ", step ", position.step + 1);
    const Variable logits = forward(*stage.model, batch->images, where);
    Variable loss = cross_entropy(logits, batch->labels, stage.config.label_smoothing);
    const double value = loss.value().item();
    if (!std::isfinite(value)) fail_diverged(*stage.model, where, value);
    loss.backward();
    factor = stage.schedule.factor(position.epoch, batch->number, steps);
    stage.optimizer.step(factor);
    stage.optimizer.clear_gradients();

    const int64_t count = batch->labels.elements();
    images += count;
    correct += count_correct(logits.value(), batch->labels);
    loss_sum += value * static_cast<double>(count);
    ++position.step;
    ++steps_;
    position.samples_seen += count;
    progress_.update(label, images, train_->size(), seconds_since(start), loss_sum / static_cast<double>(images),
                     100 * static_cast<double>(correct) / static_cast<double>(images));
    if (interrupted()) break;
  }
  const double seconds = seconds_since(start);
  return {.stage = position.stage,
          .epoch = position.epoch + 1,
          .step = position.step,
          .samples_seen = position.samples_seen,
          .learning_rate = stage.config.lr * factor,
          .train_loss = loss_sum / static_cast<double>(images),
          .train_top1 = 100 * static_cast<double>(correct) / static_cast<double>(images),
          .seconds = seconds,
          .images_per_second = static_cast<double>(images) / seconds};
}

void Trainer::finish_epoch(Stage& stage, EpochMetrics metrics) {
  const Evaluation found =
      evaluate(*stage.model, validation_->classes(), validation_, static_cast<int>(run_.data.workers));
  // The loss of a step is computed before its update, so the last update of an epoch shows only here.
  if (!std::isfinite(found.loss))
    fail_diverged(*stage.model, text(metrics.stage, " epoch ", metrics.epoch, ", validation"), found.loss);
  metrics.validation_loss = found.loss;
  metrics.validation_top1 = found.top1;
  ++stage.position.epoch;
  ++epochs_;
  const bool best = found.top1 > stage.position.best_metric;
  if (best) stage.position.best_metric = found.top1;
  if (best) save(stage, "best", false);
  save(stage, "last", true);
  folder_->append(metrics);
  progress_.line(text(metrics.stage, " epoch ", metrics.epoch, "/", stage.config.epochs, ": loss ",
                      fixed(metrics.train_loss, 2), ", train ", fixed(metrics.train_top1, 2), " %, ",
                      validation_ == test_ ? "test " : "validation ", fixed(metrics.validation_top1, 2), " %",
                      best ? " (best)" : "", ", ", static_cast<int64_t>(metrics.images_per_second), " images/s"));
}

void Trainer::save(const Stage& stage, const std::string& name, bool keep_former) {
  save_checkpoint(folder_->checkpoint(name), keep_former ? folder_->checkpoint(name + ".prev") : "", *stage.model,
                  stage.optimizer, stage.position, run_, config_json_);
}

}  // namespace apotnet
