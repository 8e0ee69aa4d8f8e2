#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace apotnet {

/// One line of metrics.csv: an epoch of a stage.
struct EpochMetrics {
  std::string stage;
  int64_t epoch = 0, step = 0, samples_seen = 0;  ///< finished so far, in the stage
  double learning_rate = 0;                       ///< of the last step, ordinary parameters
  double train_loss = 0, train_top1 = 0;
  double validation_loss = 0, validation_top1 = 0;
  double seconds = 0, images_per_second = 0;  ///< of the training part of the epoch
};

/// The folder of one run: config.json, metrics.csv and checkpoints/.
class RunFolder {
 public:
  /// Creates `wanted`, which must not hold a run yet; an empty name stands for runs/<config name>, numbered -2, -3 ...
  /// when taken. Error(cannot_write), or Error(usage) when `wanted` holds a run.
  RunFolder(const std::string& wanted, const std::string& config_path, const std::string& config_json);

  const std::filesystem::path& path() const { return path_; }
  /// checkpoints/NAME.safetensors
  std::string checkpoint(const std::string& name) const;
  void append(const EpochMetrics& metrics);

 private:
  std::filesystem::path path_;
  std::ofstream metrics_;
};

}  // namespace apotnet
