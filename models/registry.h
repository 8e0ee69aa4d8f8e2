#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/model.h"

namespace apotnet {

/// Names that make_model knows.
std::vector<std::string> model_names();

/// A network with its modules named and its parameters not yet initialised (zeros).
/// Error(configuration) for an unknown name or for bits without a level set.
std::unique_ptr<Model> make_model(const ModelSettings& settings);

/// The images that a network is meant for, [1, H, W, C]. Error(configuration) for an unknown name.
Shape model_input(const std::string& name);

}  // namespace apotnet
