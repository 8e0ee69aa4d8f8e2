#include "tools/training/stage.h"

#include <string_view>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "layers/state.h"
#include "models/registry.h"
#include "tools/training/model_file.h"

namespace apotnet {
namespace {

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

}  // namespace

Stage make_stage(const RunConfig& run, size_t number, int64_t classes, Device device) {
  const StageConfig& config = run.stages[number];
  std::unique_ptr<Model> model = make_model(model_settings(run, config, classes));
  Philox random(static_cast<uint64_t>(run.seed), RandomStream::weights);
  model->initialize(random);
  if (device != Device{}) model->move_to(device);
  const auto groups = parameter_groups(*model, run, config);
  return {.config = config,
          .model = std::move(model),
          .optimizer = Sgd(groups, run.optimizer.momentum),
          .schedule = {parse_schedule_kind(config.schedule), static_cast<double>(config.epochs), config.milestones,
                       config.gamma, config.warmup_epochs},
          .position = {.stage = config.name, .stage_number = static_cast<int64_t>(number)}};
}

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

}  // namespace apotnet
