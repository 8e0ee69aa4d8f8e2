#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/training/event_file.h"
#include "tools/training/layer_statistics.h"

namespace apotnet {

/// A finished epoch of a stage: one line of metrics.csv and of metrics.jsonl (there with "kind": "epoch").
struct EpochMetrics {
  std::string stage;
  int64_t epoch = 0, step = 0, samples_seen = 0;  ///< finished so far, in the stage
  int64_t run_epoch = 0;                          ///< epoch, after those of the stages before it
  double learning_rate = 0;                       ///< of the last step, ordinary parameters
  double train_loss = 0, train_top1 = 0;
  double validation_loss = 0, validation_top1 = 0, validation_top5 = 0;
  double seconds = 0, images_per_second = 0;  ///< by this process, of the training part of the epoch
  std::vector<LayerStatistics> layers{};      ///< of the quantized layers at its end; in metrics.jsonl only
};

/// The test split at the end of a stage, on its best checkpoint: a line of metrics.jsonl ("kind": "test").
struct TestMetrics {
  std::string stage;
  int64_t epoch = 0;      ///< epochs of the stage
  int64_t run_epoch = 0;  ///< the same, after the stages before it
  double test_loss = 0, test_top1 = 0, test_top5 = 0;
  double seconds = 0;
};

/// What metrics.jsonl tells of a run, in the order of the lines.
struct RunMetrics {
  std::vector<EpochMetrics> epochs;
  std::vector<TestMetrics> tests;
};

/// Reads a metrics.jsonl; a last line without its end is left out: the run may be writing it. Error(input_missing), or
/// Error(damaged_data) with file and line.
RunMetrics read_metrics(const std::string& path);

/// What a run's epochs came to: metrics.csv, metrics.jsonl, and events for TensorBoard whose steps are epochs of the
/// run. Everything is flushed to the disk before append returns. All functions: Error(cannot_write).
class MetricsFiles {
 public:
  explicit MetricsFiles(const std::string& folder);

  /// The files as they are before the first epoch.
  void start();
  /// Takes back what was written after a checkpoint that has `epochs` finished epochs of stage `stage`, `run_epochs`
  /// with those before it; `stages` are the names of all in order. What stays is what an uninterrupted run had written
  /// by then.
  void cut_back(const std::vector<std::string>& stages, const std::string& stage, int64_t epochs, int64_t run_epochs);
  void append(const EpochMetrics& metrics);
  void append(const TestMetrics& metrics);

 private:
  std::string folder_, csv_, jsonl_;
  std::optional<EventFile> events_;
};

}  // namespace apotnet
