#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "models/model.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "tools/config/config.h"
#include "tools/training/evaluate.h"
#include "tools/training/model_file.h"
#include "tools/training/progress.h"
#include "tools/training/run_folder.h"

namespace apotnet {

/// What the command line adds to a configuration.
struct TrainOptions {
  std::string config_path;
  std::string out;   ///< run folder; empty: runs/<config name>
  std::string init;  ///< checkpoint that the last stage starts from, in place of the stages before it
  bool quiet = false;
};

struct TrainResult {
  std::string folder;
  std::string checkpoint;  ///< of the best epoch
  Evaluation test;         ///< of that checkpoint, on the test split
  int64_t epochs = 0, steps = 0;
  double seconds = 0;
  int signal = 0;  ///< that interrupted the run; during training, nothing was tested
};

/// Runs the stages of a configuration: epochs, learning rates, checkpoints, metrics. One step of it is
///   model.forward(batch) -> cross_entropy -> backward() -> sgd.step()
class Trainer {
 public:
  Trainer(const ResolvedConfig& config, const TrainOptions& options);
  TrainResult run();

 private:
  struct Stage;  // a stage being trained
  void train_stage(const StageConfig& stage, const std::string& from);
  EpochMetrics train_epoch(Stage& stage);
  void finish_epoch(Stage& stage, EpochMetrics metrics);
  void save(const Stage& stage, const std::string& name, bool keep_former);

  RunConfig run_;
  TrainOptions options_;
  std::string config_json_;
  std::shared_ptr<const Dataset> train_, validation_, test_;
  std::unique_ptr<RunFolder> folder_;
  Progress progress_;
  int64_t steps_ = 0, epochs_ = 0;
};

}  // namespace apotnet
