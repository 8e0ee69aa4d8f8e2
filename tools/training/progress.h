#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/terminal.h"

namespace apotnet {

/// How an epoch goes.
struct ProgressState {
  std::string label;                           ///< "4bit epoch 3/30"
  int64_t images = 0, images_per_epoch = 0;    ///< done of the epoch, and all
  double images_per_second = 0;                ///< 0: not known yet
  double loss = 0, top1 = 0;                   ///< of the epoch so far
  double seconds_left = -1, all_seconds = -1;  ///< of the epoch, and of all stages; negative: not known yet
};

/// One line without its end: with a bar for a terminal of so many columns, of which it takes at most all but one.
std::string progress_bar(const ProgressState& state, const Terminal& terminal);
/// The same for a file or a pipe.
std::string progress_line(const ProgressState& state);

/// Tells on stderr how an epoch goes: one line that is redrawn on a terminal, elsewhere a plain line every ten seconds.
/// Lines that stay also go to a log, each with the time (UTC, ISO 8601).
class Progress {
 public:
  Progress(bool quiet, const Terminal& terminal);
  /// Ends an open line, so that what is printed next stands on its own.
  ~Progress();
  /// From now on lines are added to this file, with those that came before. Error(cannot_write).
  void log_to(const std::string& path);
  /// Called after every step; prints only when it is time to.
  void update(const ProgressState& state);
  /// A line that stays.
  void line(const std::string& message);
  /// The same where all others are wanted quiet too.
  void last_line(const std::string& message);
  /// A line for the log alone.
  void log(const std::string& message);

 private:
  bool quiet_;
  Terminal terminal_;
  bool line_open_ = false;
  std::chrono::steady_clock::time_point last_;
  std::string log_path_;
  std::vector<std::string> unwritten_;  // until there is a log
};

}  // namespace apotnet
