#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace apotnet {

// What a training run is made of. Every member is a row of the field table (field_table.cpp), which says its range and
// meaning; the values here are the defaults.

struct ModelConfig {
  std::string name = "resnet20";
  bool zero_init_residual = false;
};

struct DataConfig {
  std::string name = "cifar10", root;
  int64_t batch = 128, accumulate = 1, ghost_batch = 0;
  std::vector<std::string> augment{"pad_crop", "flip"};
  int64_t validation = 5000;
  int64_t workers = 1;
  int64_t train_limit = 0, test_limit = 0;
  int64_t train_count = 10000, test_count = 2000;
  int64_t image_size = 224, resized_side = 256;
  std::string damaged = "error", other_files = "skip";
};

struct QuantConfig {
  std::string method = "apot", variant = "cifar", first_last = "apot-compat";
  bool rcf = true, weight_norm = true;
  double grad_scale = 1;
};

struct OptimizerConfig {
  double momentum = 0.9, weight_alpha_lr = 0.02, activation_alpha_lr = 0.1, alpha_weight_decay = 1e-4;
};

struct StageConfig {
  std::string name;
  int64_t weight_bits = 4, activation_bits = 4;
  int64_t epochs = 0;
  double lr = 0, weight_decay = 1e-4;
  std::string schedule = "milestones";
  std::vector<int64_t> milestones;
  double gamma = 0.1, warmup_epochs = 0, label_smoothing = 0;
  std::string init = "last";
};

struct CheckpointConfig {
  int64_t every_steps = 0;
};

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  QuantConfig quant;
  OptimizerConfig optimizer;
  CheckpointConfig checkpoint;
  std::vector<StageConfig> stages;
  int64_t seed = 1;
};

}  // namespace apotnet
