#pragma once

#include <doctest/doctest.h>

#include <sstream>
#include <string>

#include "tests/support/run_program.h"

namespace apotnet::test {

/// Two stages of nine steps in all on generated pictures, saved inside the epochs too: a second of training.
inline constexpr const char* kSmallRun = R"({
  "data": {"name": "shapes10", "batch": 8, "augment": ["flip"], "validation": 10, "train_count": 34, "test_count": 10},
  "stages": [{"name": "float", "bits": 32, "epochs": 1, "lr": 0.05},
             {"name": "3bit", "bits": 3, "epochs": 2, "lr": 0.02, "init": "best", "warmup_epochs": 1,
              "label_smoothing": 0.1, "weight_decay": 3e-5}],
  "checkpoint": {"every_steps": 2}, "seed": 3})";

/// A folder with small.json in it and runs beside it.
class SmallRuns {
 public:
  SmallRuns() { write_text(folder_ / "small.json", kSmallRun); }

  std::string operator/(const std::string& name) const { return folder_ / name; }
  std::string command(const std::string& run, const std::string& more = "", int threads = 1) const {
    return std::string(APOTNET_BINARY) + " train " + folder_ / "small.json" + " --out " + folder_ / run +
           " --quiet --threads " + std::to_string(threads) + " " + more;
  }
  /// Runs the program, `before` in front of its command line.
  Finished train(const std::string& run, const std::string& more = "", int threads = 1,
                 const std::string& before = "") const {
    return run_program(before + " " + command(run, more, threads));
  }
  std::string last(const std::string& run) const { return folder_ / run + "/checkpoints/last.safetensors"; }
  std::string best(const std::string& run) const { return folder_ / run + "/checkpoints/best.safetensors"; }
  /// metrics.csv without its last two columns, the clock's.
  std::string metrics(const std::string& run) const {
    std::istringstream lines(read_text(folder_ / run + "/metrics.csv"));
    std::string result;
    for (std::string line; std::getline(lines, line);) {
      for (int i = 0; i < 2; ++i) line.resize(std::min(line.rfind(','), line.size()));
      result += line + '\n';
    }
    return result;
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace apotnet::test
