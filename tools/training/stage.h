#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/model.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "tools/config/run_config.h"
#include "tools/training/checkpoint.h"

namespace apotnet {

/// A stage being trained.
struct Stage {
  StageConfig config;
  std::unique_ptr<Model> model;
  Sgd optimizer;
  Schedule schedule;
  TrainingPosition position;
};

/// Stage `number` (from 0) of a run at its beginning, with fresh weights.
Stage make_stage(const RunConfig& run, size_t number, int64_t classes, Device device = {});

/// What a network took from a checkpoint.
struct TakenState {
  size_t tensors = 0, fresh_alphas = 0;
  std::vector<std::string> left_over;  ///< alphas of the file that have no place in the network

  /// "128 tensors taken; 40 alphas start fresh"
  std::string description() const;
};

/// Takes weights, statistics and alphas of a checkpoint of the same network, whoever wrote it; where it has no alphas
/// (a float network), or has those of weights in other units (quant.weight_norm), they stay fresh.
/// Error: input_missing, damaged_data.
TakenState start_from(Model& model, const std::string& path);

}  // namespace apotnet
