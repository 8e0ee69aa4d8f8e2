#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace apotnet {

/// How a run goes, for whoever looks at status.json from outside.
struct Status {
  std::string state = "running";          ///< running, done, interrupted or failed
  std::string stage;                      ///< its name
  int64_t stage_number = 0, stages = 0;   ///< from 1
  int64_t epoch = 0, epochs = 0;          ///< from 1, of the stage
  int64_t step = 0, steps = 0;            ///< done and all, of the epoch
  double train_loss = 0, train_top1 = 0;  ///< of the epoch so far
  double images_per_second = 0;           ///< of the epoch so far
  double seconds = 0, eta_seconds = 0;    ///< since this process began; until the last stage ends, roughly
  int exit_code = -1;                     ///< null in the file while it runs
  std::string message;                    ///< of a failed run
};

/// status.json, replaced atomically, so that a reader always finds a whole one.
class StatusFile {
 public:
  explicit StatusFile(std::string path) : path_(std::move(path)) {}
  /// Whether the last writing is long enough ago.
  bool due() const;
  /// Error(cannot_write).
  void write(const Status& status);

 private:
  std::string path_;
  std::chrono::steady_clock::time_point last_{};  // long ago
};

}  // namespace apotnet
