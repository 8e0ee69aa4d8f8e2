#pragma once

#include <optional>
#include <string>

#include "tools/training/model_file.h"

namespace CLI {
class App;
}  // namespace CLI

namespace apotnet {

/// What a checkpoint of another program does not say of itself.
struct ForeignOptions {
  std::optional<int> bits;
  std::optional<std::string> method;
};

/// Adds --bits and --method.
void add_foreign_options(CLI::App& command, ForeignOptions& options);

/// open_model() with them. Which levels were assumed is told on stderr, unless `quiet`.
OpenedModel open_model(const std::string& path, const ForeignOptions& options, bool quiet);

}  // namespace apotnet
