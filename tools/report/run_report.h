#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/quant/level_set.h"
#include "core/tensor/shape.h"
#include "models/cost.h"
#include "tools/config/run_config.h"
#include "tools/training/evaluate.h"
#include "tools/training/metrics.h"

namespace apotnet {

/// A stage of a run as far as it came.
struct StageReport {
  StageConfig config;
  int64_t epochs = 0;                 ///< finished
  std::optional<double> best_top1{};  ///< on the validation split
  std::optional<TestMetrics> test{};  ///< at its end
  NetworkCost cost{};
};

/// The weights of a quantized convolution in a checkpoint.
struct LayerWeights {
  std::string name;
  Shape shape;  ///< [O, KH, KW, I]
  const LevelSet* levels;
  std::vector<int> codes;  ///< with their signs
};

/// A test image that the network takes for another class.
struct Mistake {
  int64_t index = 0;  ///< in the test split
  int truth = 0, guess = 0;
  double probability = 0;       ///< of the guess
  std::vector<uint8_t> pixels;  ///< [H, W, C]
};

/// What a checkpoint makes of the test split.
struct TestReport {
  int64_t count = 0, height = 0, width = 0, channels = 0;
  std::vector<std::string> class_names;
  std::vector<int64_t> confusion;  ///< [truth, guess]
  std::vector<Mistake> mistakes;   ///< the most confident first

  int64_t images(size_t truth, size_t guess) const { return confusion[truth * class_names.size() + guess]; }
};

/// Everything that the report shows of a run.
struct RunReport {
  std::string name, folder;
  RunConfig run;
  std::string config, environment, state;  ///< the first two as JSON
  RunMetrics metrics;
  std::vector<StageReport> stages;
  std::string checkpoint;             ///< studied below; empty: there is none yet
  std::vector<LayerWeights> weights;  ///< of its quantized layers
  std::optional<TestReport> test;
  std::string test_missing;  ///< why there is no test
};

/// Mistakes that the report shows.
inline constexpr size_t kMostMistakes = 24;

/// Reads a run folder, and where its newest stage has ended evaluates the best checkpoint on the test split, if that is
/// found: in `data` (NAME, DIR or NAME:DIR), or for an empty string where the run had it. `test`, where given, is what
/// that evaluation would find. Error(input_missing) for what is no run folder, Error(damaged_data).
RunReport read_run_report(const std::string& folder, const std::string& data, const Evaluation* test = nullptr);

/// The level sets of a stage, of weights and activations.
const LevelSet& weight_levels(const RunReport& report, const StageConfig& stage);
/// Of a layer whose input takes `count` magnitudes: with a sign there are half as many.
const LevelSet& activation_levels(const RunReport& report, const StageConfig& stage, size_t count);

}  // namespace apotnet
