#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/io/tensor_file.h"
#include "layers/module.h"
#include "optim/sgd.h"

namespace apotnet {

/// Where a run stands; stored in every checkpoint. All randomness is a function of seed, epoch and sample, so with
/// model and momentum this is all that it takes to go on as if the run had never stopped.
struct TrainingPosition {
  std::string stage;
  int64_t stage_number = 0;  ///< of the stage in the configuration, from 0
  int64_t epoch = 0;         ///< epochs finished in the stage
  int64_t batch = 0;         ///< batches done of the epoch that is not finished
  int64_t step = 0;          ///< optimizer steps in the stage
  int64_t samples_seen = 0;  ///< training images in the stage
  double best_metric = -1;   ///< best top-1 % on the validation split so far; -1: no epoch is finished
  int64_t epoch_images = 0, epoch_correct = 0;  ///< of the batches done of the epoch
  double epoch_loss = 0;                        ///< sum over these images
  std::string device{};  ///< of the last steps: "cpu" or "cuda: ..." (Accelerator::description()); empty: not known
};

/// Writes model, momentum, position, the resolved configuration and the names of the classes as safetensors,
/// atomically. With `former`, the file that stood at `path` is kept under that name. Error(cannot_write).
void save_checkpoint(const std::string& path, const std::string& former, Module& model, const Sgd& optimizer,
                     const TrainingPosition& position, int64_t seed, const std::string& config_json,
                     const std::vector<std::string>& class_names);

/// A training as it stands in a checkpoint.
struct SavedTraining {
  std::string path;
  TensorFile file;
  TrainingPosition position;
  std::string config;  ///< resolved, JSON
};

/// Error(input_missing), or Error(damaged_data) for what is no whole checkpoint of a training.
SavedTraining read_training(const std::string& path);

/// The newest whole checkpoint of a run's folder `checkpoints`: last, else last.prev, else best; nothing when there is
/// none of them. `report` is told of each damaged one before it. Error(damaged_data) when all that are there are
/// damaged.
std::optional<SavedTraining> find_newest_training(const std::string& checkpoints,
                                                  const std::function<void(const std::string&)>& report);

/// Puts the saved tensors into a model and an optimizer of the same configuration. Error(damaged_data) when one is
/// missing or has another shape.
void restore(const SavedTraining& saved, Module& model, const Sgd& optimizer);

}  // namespace apotnet
