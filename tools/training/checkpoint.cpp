#include "tools/training/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/base/build_info.h"
#include "core/base/digits.h"
#include "core/base/error.h"
#include "core/io/layout.h"
#include "core/io/printable.h"
#include "core/io/safetensors.h"
#include "layers/state.h"
#include "tools/json_text.h"
#include "tools/training/model_file.h"

namespace apotnet {
namespace {

std::string momentum_name(const Sgd::State& state) { return "optimizer." + state.name + ".momentum"; }

template <typename Number>
void parse(const SavedTraining& saved, const char* key, Number& value) {
  const std::string digits = required_metadata(saved.file, saved.path, key);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool sound = error == std::errc{} && end == digits.data() + digits.size();
  if (!sound || !std::isfinite(static_cast<double>(value)))
    fail(ErrorCategory::damaged_data, saved.path, ": \"", key,
         "\" in the metadata is not a number: ", printable(digits));
}

}  // namespace

void save_checkpoint(const std::string& path, const std::string& former, Module& model, const Sgd& optimizer,
                     const TrainingPosition& position, int64_t seed, const std::string& config_json,
                     const std::vector<std::string>& class_names) {
  TensorFile file;
  file.tensors = state_of(model);
  for (const Sgd::State& state : optimizer.state())
    file.tensors.push_back({momentum_name(state), weight_to_pytorch(state.momentum.on(Device{}))});
  file.metadata = {{"format_version", kFormatVersion},
                   {"min_reader_version", kFormatVersion},
                   {"writer", text("apotnet ", kVersion)},
                   {"config", config_json},
                   {"class_names", json_text(nlohmann::json(class_names))},
                   {"stage", position.stage},
                   {"stage_number", shortest_digits(position.stage_number)},
                   {"epoch", shortest_digits(position.epoch)},
                   {"batch", shortest_digits(position.batch)},
                   {"step", shortest_digits(position.step)},
                   {"samples_seen", shortest_digits(position.samples_seen)},
                   {"best_metric", shortest_digits(position.best_metric)},
                   {"epoch_images", shortest_digits(position.epoch_images)},
                   {"epoch_correct", shortest_digits(position.epoch_correct)},
                   {"epoch_loss", shortest_digits(position.epoch_loss)},
                   {"device", position.device},
                   {"seed", shortest_digits(seed)}};
  add_checksums(file);
  if (former.empty())
    write_safetensors(path, file);
  else
    write_safetensors_keeping_former(path, former, file);
}

SavedTraining read_training(const std::string& path) {
  SavedTraining saved{.path = path, .file = read_safetensors(path), .position = {}, .config = {}};
  require_readable_format(saved.file, path);
  saved.config = required_metadata(saved.file, path, "config");
  TrainingPosition& position = saved.position;
  position.stage = required_metadata(saved.file, path, "stage");
  parse(saved, "stage_number", position.stage_number);
  parse(saved, "epoch", position.epoch);
  parse(saved, "batch", position.batch);
  parse(saved, "step", position.step);
  parse(saved, "samples_seen", position.samples_seen);
  parse(saved, "best_metric", position.best_metric);
  parse(saved, "epoch_images", position.epoch_images);
  parse(saved, "epoch_correct", position.epoch_correct);
  parse(saved, "epoch_loss", position.epoch_loss);
  if (const auto device = saved.file.metadata.find("device"); device != saved.file.metadata.end())
    position.device = device->second;
  if (std::min({position.stage_number, position.epoch, position.batch, position.step, position.samples_seen}) < 0)
    fail(ErrorCategory::damaged_data, path, ": the position in the metadata is negative");
  return saved;
}

std::optional<SavedTraining> find_newest_training(const std::string& checkpoints,
                                                  const std::function<void(const std::string&)>& report) {
  std::vector<std::string> damages;
  for (const char* name : {"last", "last.prev", "best"}) {
    const std::string path = (std::filesystem::path(checkpoints) / name).string() + ".safetensors";
    std::error_code error;
    if (std::filesystem::symlink_status(path, error).type() == std::filesystem::file_type::not_found) continue;
    try {
      SavedTraining saved = read_training(path);
      for (const std::string& damage : damages) report(text(damage, "; uses an older one: ", saved.path));
      return saved;
    } catch (const Error& damage) {
      // One that is there and cannot be opened is no reason to start over either.
      if (damage.category() != ErrorCategory::damaged_data && damage.category() != ErrorCategory::input_missing) throw;
      damages.push_back(damage.what());
    }
  }
  if (!damages.empty())
    fail(ErrorCategory::damaged_data, damages[0], "; no other checkpoint of the run is whole either");
  return {};
}

void restore(const SavedTraining& saved, Module& model, const Sgd& optimizer) {
  const auto refuse = [&](const std::string& name, const char* what) {
    fail(ErrorCategory::damaged_data, saved.path, ": cannot be continued: tensor ", name, " ", what);
  };
  LoadReport report;
  try {
    report = load_state(model, saved.file);
  } catch (const Error& error) {
    fail(error.category(), saved.path, ": ", error.what());
  }
  if (!report.missing.empty()) refuse(report.missing[0], "is missing");
  for (const Sgd::State& state : optimizer.state()) {
    const std::string name = momentum_name(state);
    const Tensor* found = saved.file.find(name);
    if (!found) refuse(name, "is missing");
    const Tensor values = weight_from_pytorch(*found);
    Tensor momentum = state.momentum;  // the live tensor under another handle
    if (values.shape() != momentum.shape() || values.dtype() != momentum.dtype())
      refuse(name, "has another shape or type than its parameter");
    momentum.copy_from({values.raw(), values.bytes()});
  }
}

}  // namespace apotnet
