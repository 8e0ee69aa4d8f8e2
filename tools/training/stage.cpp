#include "tools/training/stage.h"

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "core/io/printable.h"
#include "layers/batch_norm.h"
#include "layers/quant_conv2d.h"
#include "layers/state.h"
#include "models/registry.h"
#include "models/residual_block.h"
#include "tools/config/config.h"
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

bool is_weight_alpha(const std::string& name) {
  return name.ends_with(".weight_quant.wgt_alpha") || name.ends_with(".weight_alpha");
}

// Thresholds of normalised and of raw weights are in different units: one cannot go on as the other.
void drop_alphas_of_other_units(Module& model, TensorFile& file, const std::string& path) {
  const bool ours = file.metadata.contains("format_version");
  const bool normalised = !ours || parse_resolved(required_metadata(file, path, "config"), path).quant.weight_norm;
  bool drops = false;
  model.for_each_module([&](Module& module) {
    const auto* layer = dynamic_cast<QuantConv2d*>(&module);
    drops |= layer && layer->weight_quantizer && layer->weight_quantizer->normalises() != normalised;
  });
  if (drops) std::erase_if(file.tensors, [](const NamedTensor& entry) { return is_weight_alpha(entry.name); });
}

void start_as_identities(Module& model) {
  model.for_each_module([](Module& module) {
    if (auto* block = dynamic_cast<ResidualBlock*>(&module)) block->last_norm().weight.mutable_value().fill(0);
  });
}

// Alphas of weights that the file lacks start anew: where they begin may depend on the weights, which have come now.
void start_missing_alphas(Module& model, const std::vector<std::string>& missing) {
  model.for_each_module([&](Module& module) {
    auto* layer = dynamic_cast<QuantConv2d*>(&module);
    const bool starts = layer && std::ranges::any_of(missing, [&](const std::string& name) {
                          return name.starts_with(layer->name() + ".") && is_weight_alpha(name);
                        });
    if (starts) layer->weight_quantizer->start_alpha(layer->weight.value().on(Device{}));
  });
}

}  // namespace

Stage make_stage(const RunConfig& run, size_t number, int64_t classes, Device device) {
  const StageConfig& config = run.stages[number];
  std::unique_ptr<Model> model = make_model(model_settings(run, config, classes));
  Philox random(static_cast<uint64_t>(run.seed), RandomStream::weights);
  model->initialize(random);
  if (run.model.zero_init_residual) start_as_identities(*model);
  set_ghost_batch(*model, run.data.ghost_batch);
  if (device != Device{}) model->move_to(device);
  const auto groups = parameter_groups(*model, run, config);
  return {.config = config,
          .model = std::move(model),
          .optimizer = Sgd(groups, run.optimizer.momentum),
          .schedule = {parse_schedule_kind(config.schedule), static_cast<double>(config.epochs), config.milestones,
                       config.gamma, config.warmup_epochs},
          .position = {.stage = config.name, .stage_number = static_cast<int64_t>(number)}};
}

std::string TakenState::description() const {
  std::string all = text(tensors, " tensors taken");
  if (fresh_alphas > 0) all += text("; ", fresh_alphas, " alphas start fresh");
  if (!left_over.empty())
    all += text("; ", left_over.size(), " alphas are left over, the first is ", printable(left_over[0]));
  return all;
}

TakenState start_from(Model& model, const std::string& path) {
  LoadReport report;
  try {
    TensorFile file = read_checkpoint_file(path);
    drop_alphas_of_other_units(model, file, path);
    report = load_state(model, file);
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(path)) throw;
    fail(error.category(), path, ": ", error.what());
  }
  for (const auto* names : {&report.missing, &report.unused})
    for (const std::string& name : *names)
      if (!name.ends_with("alpha") && !name.starts_with("optimizer."))
        fail(ErrorCategory::damaged_data, path, ": is of another network: ", printable(name),
             names == &report.missing ? " is missing" : " has no place in this one");
  start_missing_alphas(model, report.missing);
  std::erase_if(report.unused, [](const std::string& name) { return name.starts_with("optimizer."); });
  return {report.taken, report.missing.size(), std::move(report.unused)};
}

}  // namespace apotnet
