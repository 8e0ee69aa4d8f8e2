#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data/loader.h"
#include "tools/config/config.h"
#include "tools/training/device_steps.h"
#include "tools/training/engine_file.h"
#include "tools/training/evaluate.h"
#include "tools/training/metrics.h"
#include "tools/training/progress.h"
#include "tools/training/run_data.h"
#include "tools/training/run_folder.h"
#include "tools/training/stage.h"
#include "tools/training/status.h"

namespace apotnet {

/// What the command line adds to a configuration.
struct TrainOptions {
  std::string config_path;
  std::string out;   ///< run folder; empty: runs/<config name>
  std::string init;  ///< checkpoint that the last stage starts from, in place of the stages before it
  /// Continue a run: a checkpoint, a run folder, or empty for `out` or the newest run of this configuration.
  std::optional<std::string> resume;
  std::vector<std::string> overrides;     ///< already part of the configuration; for environment.json
  std::vector<std::string> command_line;  ///< for environment.json
  int threads = 1;                        ///< in use; for environment.json
  Device device;                          ///< that trains and evaluates
  bool quiet = false;
  std::string color = "auto";  ///< auto, always or never
};

struct TrainResult {
  std::string folder;
  std::string checkpoint;         ///< of the best epoch
  Evaluation test;                ///< of that checkpoint, on the test split
  int64_t epochs = 0, steps = 0;  ///< by this process
  double seconds = 0;
  int signal = 0;  ///< that interrupted the run, before its last test was done
};

/// Runs the stages of a configuration: epochs, learning rates, checkpoints, metrics. One step of it is
///   model.forward(batch) -> cross_entropy -> backward() -> sgd.step()
///
/// A stage begins from the best or the last weights of the one before it and ends with its best checkpoint on the test
/// split. `last` is saved at the beginning of a stage, at the end of each epoch, every checkpoint.every_steps steps and
/// at an interrupt; from each of these points a resumed run goes on to the same bits, with any number of threads.
class Trainer {
 public:
  /// Opens data and folder. With options.resume, Error(configuration) when the checkpoint's configuration differs; a
  /// run that has no checkpoint yet starts from the beginning.
  Trainer(const ResolvedConfig& config, const TrainOptions& options);
  TrainResult run();

 private:
  std::filesystem::path find_resumed(const ResolvedConfig& config);
  void prepare_folder();
  void write_config();
  void bring_what_is_missing();
  void warn(const std::string& message);

  Stage begin_stage(size_t number, const std::string& from);
  Stage resume_stage();
  TrainResult train_stages();
  void train_stage(Stage& stage);
  EpochMetrics train_epoch(Stage& stage);
  void train_step(Stage& stage, Loader& loader, int64_t steps);
  void add_gradients(Stage& stage, const Batch& part, int64_t count);
  void begin_device_step(Stage& stage, Loader& loader, int64_t count, double rate_factor);
  void add_device_result(Stage& stage, const std::optional<StepResult>& result);
  void finish_epoch(Stage& stage, EpochMetrics metrics);
  Evaluation finish_stage(const Stage& stage);
  std::string device_name() const;
  std::string kept_checkpoint(const Stage& stage, const std::string& name) const;
  void save_inside_epoch(Stage& stage);
  void save(const Stage& stage, const std::string& name, bool keep_former);
  void store_engines();
  void report(const Stage& stage, int64_t steps);
  void write_status();
  double seconds_left(const TrainingPosition& position) const;
  int64_t epochs_before(int64_t stage_number) const;

  RunConfig run_;
  TrainOptions options_;
  std::string config_json_;  // of a resumed run, as it was first given
  RunData data_;
  Progress progress_;
  std::set<std::string> remarks_;  // about the data, told so far
  std::optional<SavedTraining> resumed_;
  std::unique_ptr<RunFolder> folder_;
  ResidentImages resident_;                    // on the device that trains, if one does: all or only the tables
  std::unique_ptr<DeviceSteps> device_steps_;  // of the present stage
  std::optional<EngineFile> engines_;          // with a device
  std::optional<MetricsFiles> metrics_;
  std::optional<AlphaGradients> alpha_gradients_;  // of the present stage and epoch
  std::optional<StatusFile> status_file_;
  Status status_;
  // Of this process: what it has done since `start_`, and the same of the present epoch.
  std::chrono::steady_clock::time_point start_, epoch_start_;
  int64_t steps_ = 0, epochs_ = 0, images_ = 0, epoch_images_ = 0;
};

}  // namespace apotnet
