#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace apotnet {

/// One start of a training.
struct StartOfRun {
  std::string config;                  ///< file name of the configuration
  std::vector<std::string> overrides;  ///< "path=value", as given with --set
  std::vector<std::string> command_line;
  int64_t seed = 0;
  int threads = 0;
  std::string device;  ///< "cpu" or "cuda"
  std::string from;    ///< where a resumed run goes on, "4bit after 2 epochs and 16 steps"; empty: at the beginning
};

/// environment.json: versions, threads, processor, device and seed of the first start; every later one is added under
/// "resumed". Paths are in the command line and the data root alone. Error(cannot_write).
void write_environment(const std::string& path, const StartOfRun& start);

}  // namespace apotnet
