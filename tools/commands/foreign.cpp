#include "tools/commands/foreign.h"

#include <CLI/CLI.hpp>
#include <iostream>

namespace apotnet {

void add_foreign_options(CLI::App& command, ForeignOptions& options) {
  command.add_option("--bits", options.bits, "Bit width of a checkpoint of another program (2 to 8, 32 = float)")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 7, 8, 32}));
  command
      .add_option("--method", options.method,
                  "Levels of a checkpoint of another program: apot (default), pot or uniform")
      ->check(CLI::IsMember({"apot", "pot", "uniform"}));
}

OpenedModel open_model(const std::string& path, const ForeignOptions& options, bool quiet) {
  std::optional<LevelMethod> method;
  if (options.method) method = parse_level_method(*options.method);
  OpenedModel opened = open_model(path, options.bits, method);
  const bool assumed = !opened.run && !method && opened.settings.quant.weight_bits < 32;
  if (assumed && !quiet)
    std::cerr << "apotnet: " << path << ": does not say its levels and is read as "
              << name_of(opened.settings.quant.method) << "; for others add --method pot or uniform" << std::endl;
  return opened;
}

}  // namespace apotnet
