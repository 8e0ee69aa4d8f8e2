#pragma once

#include <memory>
#include <optional>
#include <string>

#include "layers/state.h"
#include "models/model.h"
#include "optim/sgd.h"
#include "tools/config/run_config.h"

namespace apotnet {

/// Where a run stands; stored in every checkpoint.
struct TrainingPosition {
  std::string stage;
  int64_t epoch = 0;         ///< epochs finished in the stage
  int64_t step = 0;          ///< optimizer steps in the stage
  int64_t samples_seen = 0;  ///< training images in the stage
  double best_metric = 0;    ///< best top-1 % on the validation split so far
};

/// Settings of the network that a stage trains.
ModelSettings model_settings(const RunConfig& run, const StageConfig& stage, int64_t classes);

/// Writes model, momentum, position and the resolved configuration as safetensors, atomically. With `former`, the file
/// that stood at `path` is kept under that name.
void save_checkpoint(const std::string& path, const std::string& former, Module& model, const Sgd& optimizer,
                     const TrainingPosition& position, const RunConfig& run, const std::string& config_json);

/// A network as it stands in a file.
struct OpenedModel {
  std::unique_ptr<Model> model;
  ModelSettings settings;
  std::string dataset;           ///< what it was trained on, as far as the file tells; may be empty
  std::optional<RunConfig> run;  ///< of a checkpoint written by apotnet
  LoadReport report;
};

/// Opens a checkpoint of ours (.safetensors) or of PyTorch (.pth, .pth.tar, or safetensors with a state dict in it).
/// `bits` must be given for a foreign quantized file (32 = float) and is ignored for ours.
/// Error: input_missing, damaged_data, or usage where the bits are missing.
OpenedModel open_model(const std::string& path, std::optional<int> bits);

}  // namespace apotnet
