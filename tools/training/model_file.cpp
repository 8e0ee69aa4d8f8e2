#include "tools/training/model_file.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "core/io/printable.h"
#include "models/describe.h"
#include "models/registry.h"
#include "tools/config/config.h"

namespace apotnet {
namespace {

QuantizerVariant parse_variant(const std::string& name) {
  return name == "imagenet" ? QuantizerVariant::imagenet : QuantizerVariant::cifar;
}

FirstLastRule parse_first_last(const std::string& name) {
  if (name == "absmax8") return FirstLastRule::absmax8;
  return name == "float" ? FirstLastRule::none : FirstLastRule::apot_compat;
}

// None in files of older versions.
std::vector<std::string> class_names_of(const std::string& path, const TensorFile& file, int64_t classes) {
  const auto entry = file.metadata.find("class_names");
  if (entry == file.metadata.end()) return {};
  const auto list = nlohmann::json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  const bool sound = list.is_array() && static_cast<int64_t>(list.size()) == classes &&
                     std::ranges::all_of(list, [](const nlohmann::json& name) { return name.is_string(); });
  if (!sound)
    fail(ErrorCategory::damaged_data, path, ": \"class_names\" in the metadata is no list of ", classes, " names");
  return list.get<std::vector<std::string>>();
}

OpenedModel open_native(const std::string& path, const TensorFile& file, std::optional<int> bits,
                        std::optional<LevelMethod> method) {
  require_readable_format(file, path);
  const RunConfig run = parse_resolved(required_metadata(file, path, "config"), path);
  const std::string name = required_metadata(file, path, "stage");
  const Tensor* last = last_weight(file);
  for (const StageConfig& stage : run.stages)
    if (stage.name == name && last) {
      const ModelSettings settings = model_settings(run, stage, last->size(0));
      if (bits && (*bits != settings.quant.weight_bits || *bits != settings.quant.activation_bits))
        fail(ErrorCategory::usage, "--bits ", *bits, ": ", path, " says ", settings.quant.weight_bits,
             "-bit weights and ", settings.quant.activation_bits, "-bit activations; leave --bits out");
      if (method && *method != settings.quant.method)
        fail(ErrorCategory::usage, "--method ", name_of(*method), ": ", path, " says ", name_of(settings.quant.method),
             "; leave --method out");
      return {make_model(settings), settings, run.data.name, class_names_of(path, file, settings.classes), run, {}};
    }
  fail(ErrorCategory::damaged_data, path, ": ",
       last ? "its configuration has no stage " + printable(name) : "the weight of its last layer is missing");
}

OpenedModel open_foreign(const std::string& path, const TensorFile& file, std::optional<int> bits, LevelMethod method) {
  const ModelDescription found = describe_state(file);
  if (!bits)
    fail(ErrorCategory::usage, path, ": a ", found.model, " of another program",
         found.has_alphas ? ", quantized; its bit width cannot be read from the file: add --bits 2 to 8"
                          : " without clipping thresholds: add --bits 32");
  if (!found.has_alphas && *bits != 32)
    fail(ErrorCategory::usage, path, ": has no clipping thresholds (act_alpha), so it is not a ", *bits,
         "-bit network; use --bits 32");
  ModelSettings settings{.name = found.model, .classes = found.classes, .quant = {}};
  settings.quant.method = method;
  settings.quant.variant = found.variant;
  settings.quant.first_last = found.first_last;
  settings.quant.weight_bits = settings.quant.activation_bits = *bits;
  return {make_model(settings), settings, found.dataset, {}, {}, {}};
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
                    .threshold_gradient = {.scale = run.quant.grad_scale, .reparameterized = run.quant.rcf},
                    .weight_norm = run.quant.weight_norm}};
}

std::string required_metadata(const TensorFile& file, const std::string& path, const std::string& key) {
  const auto entry = file.metadata.find(key);
  if (entry == file.metadata.end())
    fail(ErrorCategory::damaged_data, path, ": no \"", key, "\" in the metadata of this checkpoint");
  return entry->second;
}

void require_readable_format(const TensorFile& file, const std::string& path) {
  const std::string needs = required_metadata(file, path, "min_reader_version");
  if (needs != kFormatVersion)
    fail(ErrorCategory::damaged_data, path, ": needs checkpoint format ", printable(needs), ", this program reads ",
         kFormatVersion, "; use a newer apotnet");
}

std::string first_unusable(Module& model) {
  const auto fault = [](const Tensor& wherever) -> std::string {
    const Tensor tensor = wherever.on(Device{});
    if (tensor.dtype() == DType::f32)
      for (const float value : tensor.data<float>())
        if (!std::isfinite(value)) return text("holds ", value);
    return "";
  };
  for (const auto& parameter : model.parameters()) {
    const Tensor value = parameter.variable->value().on(Device{});
    if (const std::string found = fault(value); !found.empty()) return parameter.name + " " + found;
    if (parameter.role != ParameterRole::ordinary && value.item() <= 0)
      return text(parameter.name, " is ", value.item(), "; a clipping threshold is positive");
  }
  for (const auto& buffer : model.buffers()) {
    const Tensor value = buffer.tensor->on(Device{});
    if (const std::string found = fault(value); !found.empty()) return buffer.name + " " + found;
    if (!buffer.name.ends_with(".running_var")) continue;
    if (const float least = std::ranges::min(value.data<float>()); least < 0)
      return text(buffer.name, " holds ", least, "; a variance is not negative");
  }
  return "";
}

OpenedModel open_model(const std::string& path, std::optional<int> bits, std::optional<LevelMethod> method) {
  const TensorFile file = read_checkpoint_file(path);
  OpenedModel opened;
  try {
    opened = file.metadata.contains("format_version")
                 ? open_native(path, file, bits, method)
                 : open_foreign(path, file, bits, method.value_or(LevelMethod::apot));
    opened.report = load_state(*opened.model, file);
  } catch (const Error& error) {
    const std::string_view what = error.what();
    if (what.starts_with(path + ":") || what.find(": " + path + " says ") != std::string_view::npos) throw;
    fail(error.category(), path, ": ", error.what());
  }
  if (!opened.report.missing.empty())
    fail(ErrorCategory::damaged_data, path, ": ", opened.report.missing.size(), " tensors of a ", opened.settings.name,
         " are missing, the first is ", opened.report.missing[0]);
  // A file may be whole and still hold what no training leaves behind.
  if (const std::string fault = first_unusable(*opened.model); !fault.empty())
    fail(ErrorCategory::damaged_data, path, ": tensor ", fault);
  return opened;
}

}  // namespace apotnet
