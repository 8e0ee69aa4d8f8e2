#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/io/tensor_file.h"
#include "layers/state.h"
#include "models/model.h"
#include "tools/config/run_config.h"

namespace apotnet {

/// Of the checkpoints that this program writes, and the one that it reads.
inline constexpr const char* kFormatVersion = "1";
/// Error(damaged_data) when a checkpoint of ours asks for another reader.
void require_readable_format(const TensorFile& file, const std::string& path);
/// Error(damaged_data) when the metadata have no such entry.
std::string required_metadata(const TensorFile& file, const std::string& path, const std::string& key);

/// The first parameter or buffer with a value that is not finite, clipping threshold that is not positive or variance
/// that is negative, and what is wrong with it; empty when all are usable.
std::string first_unusable(Module& model);

/// Settings of the network that a stage trains.
ModelSettings model_settings(const RunConfig& run, const StageConfig& stage, int64_t classes);

/// A network as it stands in a file.
struct OpenedModel {
  std::unique_ptr<Model> model;
  ModelSettings settings;
  std::string dataset;                   ///< what it was trained on, as far as the file tells; may be empty
  std::vector<std::string> class_names;  ///< of its outputs, where the file has them
  std::optional<RunConfig> run;          ///< of a checkpoint written by apotnet
  LoadReport report;
};

/// Opens a checkpoint of ours (.safetensors) or of PyTorch (.pth, .pth.tar, or safetensors with a state dict in it).
/// `bits` must be given for a foreign quantized file (32 = float), and `method` for one whose levels are not apot; ours
/// says both. Error: input_missing, damaged_data, or usage where the bits are missing or either is not that of the
/// file.
OpenedModel open_model(const std::string& path, std::optional<int> bits, std::optional<LevelMethod> method = {});

}  // namespace apotnet
