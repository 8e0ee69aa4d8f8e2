#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace apotnet {

/// Tells on stderr how an epoch goes: one line that is redrawn on a terminal, elsewhere a plain line every ten seconds.
class Progress {
 public:
  explicit Progress(bool quiet);
  /// Ends an open line, so that what is printed next stands on its own.
  ~Progress();
  /// Called after every step; prints only when it is time to.
  void update(const std::string& epoch_label, int64_t images, int64_t images_per_epoch, double seconds, double loss,
              double top1);
  /// A line that stays.
  void line(const std::string& message);

 private:
  bool quiet_, terminal_;
  bool line_open_ = false;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace apotnet
