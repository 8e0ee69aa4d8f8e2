// How a run begins: its folder, and what it goes on from.
#include <iostream>
#include <span>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/printable.h"
#include "models/registry.h"
#include "tools/training/environment.h"
#include "tools/training/model_file.h"
#include "tools/training/trainer.h"

namespace apotnet {
namespace {

std::string describe(const TrainingPosition& position) {
  return text(position.stage, " after ", position.epoch, " epochs and ", position.batch, " steps");
}

}  // namespace

Trainer::Trainer(const ResolvedConfig& config, const TrainOptions& options)
    : run_(config.run),
      options_(options),
      config_json_(config.json),
      progress_(options.quiet, stderr_terminal(options.color)) {
  data_ = open_run_data(run_);
  if (const int64_t channels = data_.train->channels(), wanted = model_input(run_.model.name)[3]; channels != wanted)
    fail(ErrorCategory::configuration, "data.name: the images of ", data_.train->name(), " have ", channels,
         " channels, ", run_.model.name, " takes ", wanted);
  std::filesystem::path path;
  if (options_.resume)
    path = find_resumed(config);
  else
    path = new_run_folder(options_.out, options_.config_path);
  if (options_.device != Device{})
    resident_ = make_resident(*data_.train, loader_options(run_).augmentation.pad, options_.device);
  if (!resumed_ && !options_.init.empty())
    start_from(*make_stage(run_, run_.stages.size() - 1, data_.train->classes()).model, options_.init);
  // Last: a run that cannot start leaves no folder behind.
  folder_ = std::make_unique<RunFolder>(path);
  if (std::error_code ignored; !options_.resume && std::filesystem::exists(folder_->file("config.json"), ignored))
    fail(ErrorCategory::usage, path.string(), ": another process has begun a run there; give the command again");
  prepare_folder();
}

// The folder to go on in; its newest checkpoint, if there is one, becomes resumed_.
std::filesystem::path Trainer::find_resumed(const ResolvedConfig& config) {
  namespace fs = std::filesystem;
  const fs::path given = *options_.resume;
  fs::path folder = given.empty() ? former_run_folder(options_.out, options_.config_path) : given;
  std::error_code ignored;
  if (!given.empty() && !fs::is_directory(given, ignored)) {
    resumed_ = read_training(given.string());
    if (given.parent_path().filename() != "checkpoints")
      fail(ErrorCategory::usage, "--resume ", given.string(),
           ": is not in the checkpoints of a run folder; to start a new run from it use --init");
    folder = given.parent_path().parent_path();
    if (folder.empty()) folder = ".";
  } else {
    resumed_ =
        find_newest_training((folder / "checkpoints").string(), [&](const std::string& message) { warn(message); });
  }
  if (!resumed_) {
    if (!given.empty())
      fail(ErrorCategory::input_missing, "--resume ", given.string(),
           ": holds no checkpoint; expected a run folder, with checkpoints/last.safetensors in it");
    if (holds_checkpoints(folder))
      fail(ErrorCategory::input_missing, folder.string(),
           "/checkpoints: holds neither last, last.prev nor best to resume from, but others; move them away to start "
           "anew");
    progress_.line(text(folder.string(), ": no checkpoint to resume from; starts from the beginning"));
    return folder;
  }
  const std::vector<std::string> changes = differences(resumed_->config, config, resumed_->path);
  if (!changes.empty()) {
    std::string all;
    for (const std::string& change : changes) all += "\n  " + change;
    fail(ErrorCategory::configuration, resumed_->path,
         ": the configuration has changed since; undo that, or start a new run without --resume:", all);
  }
  const TrainingPosition& position = resumed_->position;
  const auto number = static_cast<size_t>(position.stage_number);
  if (number >= run_.stages.size() || run_.stages[number].name != position.stage)
    fail(ErrorCategory::damaged_data, resumed_->path, ": stage ", number, " of the configuration is not ",
         printable(position.stage));
  return folder;
}

// Files of the run as they have to be before the first step of this process.
void Trainer::prepare_folder() {
  progress_.log_to(folder_->file("train.log"));
  metrics_.emplace(folder_->path().string());
  status_file_.emplace(folder_->file("status.json"));
  StartOfRun start{.config = options_.config_path,
                   .overrides = options_.overrides,
                   .command_line = options_.command_line,
                   .seed = run_.seed,
                   .threads = options_.threads,
                   .device = device_name(),
                   .from = {}};
  if (resumed_) {
    const TrainingPosition& position = resumed_->position;
    config_json_ = resumed_->config;  // so that the final checkpoint is that of a run that never stopped
    // Former checkpoints say "cuda" of any device.
    const bool is_known = !position.device.empty() && !(position.device == "cuda" && start.device.starts_with("cuda"));
    if (is_known && position.device != start.device)
      warn(text(resumed_->path, ": was trained on ", printable(position.device), "; the rest will have other bits, on ",
                printable(start.device)));
    bring_what_is_missing();
    start.from = describe(position);
    std::vector<std::string> stages;
    for (const StageConfig& stage : run_.stages) stages.push_back(stage.name);
    metrics_->cut_back(stages, position.stage, position.epoch, epochs_before(position.stage_number) + position.epoch);
    progress_.line(text("resumes ", resumed_->path, " at ", start.from));
  } else {
    write_config();
    metrics_->start();
  }
  write_environment(folder_->file("environment.json"), start);
  if (options_.device != Device{}) engines_.emplace(folder_->file("engines.json"), cuda_device(), resumed_.has_value());
}

std::string Trainer::device_name() const {
  return options_.device == Device{} ? "cpu" : "cuda: " + cuda_device().description();
}

void Trainer::write_config() {
  write_file_atomically(folder_->file("config.json"), {std::as_bytes(std::span(config_json_))});
}

void Trainer::warn(const std::string& message) {
  std::cerr << "apotnet: warning: " << message << std::endl;
  progress_.log("warning: " + message);
}

// A run folder of which only a part was brought along.
void Trainer::bring_what_is_missing() {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::exists(folder_->file("config.json"), ignored)) write_config();
  TrainingPosition& position = resumed_->position;
  if (const std::string best = folder_->checkpoint("best"); position.best_metric >= 0) try {
      open_model(best, {});
    } catch (const Error& error) {
      if (position.epoch >= run_.stages.at(static_cast<size_t>(position.stage_number)).epochs) {
        // The end of the stage reads the one that was kept, if there is another stage.
        if (fs::exists(folder_->checkpoint(position.stage + ".best"), ignored)) return;
        fail(error.category(), error.what(), "; no epoch of ", position.stage,
             " is left to choose it from: bring it along, or resume from an earlier checkpoint");
      }
      warn(text(error.what(), "; the best epoch is chosen among those to come"));
      position.best_metric = -1;
    }
}

}  // namespace apotnet
