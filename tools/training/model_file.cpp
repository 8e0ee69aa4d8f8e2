#include "tools/training/model_file.h"

#include <cmath>
#include <string_view>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "core/io/layout.h"
#include "core/io/safetensors.h"
#include "models/describe.h"
#include "models/registry.h"
#include "tools/config/config.h"

namespace apotnet {
namespace {

constexpr const char* kFormatVersion = "1";

QuantizerVariant parse_variant(const std::string& name) {
  return name == "imagenet" ? QuantizerVariant::imagenet : QuantizerVariant::cifar;
}

FirstLastRule parse_first_last(const std::string& name) {
  if (name == "absmax8") return FirstLastRule::absmax8;
  return name == "float" ? FirstLastRule::none : FirstLastRule::apot_compat;
}

std::string required(const TensorFile& file, const std::string& path, const std::string& key) {
  const auto entry = file.metadata.find(key);
  if (entry == file.metadata.end())
    fail(ErrorCategory::damaged_data, path, ": no \"", key, "\" in the metadata of this checkpoint");
  return entry->second;
}

OpenedModel open_native(const std::string& path, const TensorFile& file) {
  if (const std::string needs = required(file, path, "min_reader_version"); needs != kFormatVersion)
    fail(ErrorCategory::damaged_data, path, ": needs checkpoint format ", needs, ", this program reads ",
         kFormatVersion, "; use a newer apotnet");
  const RunConfig run = parse_resolved(required(file, path, "config"), path);
  const std::string name = required(file, path, "stage");
  const Tensor* last = file.find("fc.weight");
  for (const StageConfig& stage : run.stages)
    if (stage.name == name && last) {
      const ModelSettings settings = model_settings(run, stage, last->size(0));
      return {make_model(settings), settings, run.data.name, run, {}};
    }
  fail(ErrorCategory::damaged_data, path, ": ",
       last ? "its configuration has no stage \"" + name + "\"" : "fc.weight is missing");
}

OpenedModel open_foreign(const std::string& path, const TensorFile& file, std::optional<int> bits) {
  const ModelDescription found = describe_state(file);
  if (!bits)
    fail(ErrorCategory::usage, path, ": a ", found.model, " of another program",
         found.has_alphas ? ", quantized; its bit width cannot be read from the file: add --bits 2 to 5"
                          : " without clipping thresholds: add --bits 32");
  if (!found.has_alphas && *bits != 32)
    fail(ErrorCategory::usage, path, ": has no clipping thresholds (act_alpha), so it is not a ", *bits,
         "-bit network; use --bits 32");
  ModelSettings settings{.name = found.model, .classes = found.classes, .quant = {}};
  settings.quant.variant = found.variant;
  settings.quant.weight_bits = settings.quant.activation_bits = *bits;
  return {make_model(settings), settings, found.dataset, {}, {}};
}

// A file may be whole and still hold what no training leaves behind.
void require_usable(Module& model, const std::string& path) {
  const auto check = [&](const std::string& name, const Tensor& tensor) {
    if (tensor.dtype() == DType::f32)
      for (const float value : tensor.data<float>())
        if (!std::isfinite(value)) fail(ErrorCategory::damaged_data, path, ": tensor ", name, " holds ", value);
  };
  for (const auto& parameter : model.parameters()) {
    check(parameter.name, parameter.variable->value());
    if (parameter.role != ParameterRole::ordinary && parameter.variable->value().item() <= 0)
      fail(ErrorCategory::damaged_data, path, ": ", parameter.name, " is ", parameter.variable->value().item(),
           "; a clipping threshold is positive");
  }
  for (const auto& buffer : model.buffers()) check(buffer.name, *buffer.tensor);
}

}  // namespace

ModelSettings model_settings(const RunConfig& run, const StageConfig& stage, int64_t classes) {
  return {.name = run.model.name,
          .classes = classes,
          .quant = {.method = parse_level_method(run.quant.method),
                    .variant = parse_variant(run.quant.variant),
                    .weight_bits = static_cast<int>(stage.weight_bits),
                    .activation_bits = static_cast<int>(stage.activation_bits),
                    .first_last = parse_first_last(run.quant.first_last),
                    .gradient_scale = run.quant.grad_scale}};
}

void save_checkpoint(const std::string& path, const std::string& former, Module& model, const Sgd& optimizer,
                     const TrainingPosition& position, const RunConfig& run, const std::string& config_json) {
  TensorFile file;
  file.tensors = state_of(model);
  for (const Sgd::State& state : optimizer.state())
    file.tensors.push_back({"optimizer." + state.name + ".momentum", weight_to_pytorch(state.momentum)});
  file.metadata = {{"format_version", kFormatVersion},
                   {"min_reader_version", kFormatVersion},
                   {"writer", text("apotnet ", kVersion)},
                   {"config", config_json},
                   {"stage", position.stage},
                   {"epoch", text(position.epoch)},
                   {"step", text(position.step)},
                   {"samples_seen", text(position.samples_seen)},
                   {"best_metric", text(position.best_metric)},
                   {"seed", text(run.seed)}};
  add_checksums(file);
  if (former.empty())
    write_safetensors(path, file);
  else
    write_safetensors_keeping_former(path, former, file);
}

OpenedModel open_model(const std::string& path, std::optional<int> bits) {
  const TensorFile file = read_checkpoint_file(path);
  OpenedModel opened;
  try {
    opened = file.metadata.contains("format_version") ? open_native(path, file) : open_foreign(path, file, bits);
    opened.report = load_state(*opened.model, file);
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(path)) throw;
    fail(error.category(), path, ": ", error.what());
  }
  if (!opened.report.missing.empty())
    fail(ErrorCategory::damaged_data, path, ": ", opened.report.missing.size(), " tensors of a ", opened.settings.name,
         " are missing, the first is ", opened.report.missing[0]);
  require_usable(*opened.model, path);
  return opened;
}

}  // namespace apotnet
