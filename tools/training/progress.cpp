#include "tools/training/progress.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace apotnet {
namespace {

bool stderr_is_terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) && term && std::string_view(term) != "dumb";
}

}  // namespace

Progress::Progress(bool quiet)
    : quiet_(quiet), terminal_(stderr_is_terminal()), last_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (line_open_) std::fputs("\n", stderr);
}

void Progress::update(const std::string& epoch_label, int64_t images, int64_t images_per_epoch, double seconds,
                      double loss, double top1) {
  const auto now = std::chrono::steady_clock::now();
  if (quiet_ || now - last_ < (terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000))) return;
  last_ = now;
  const double rate = static_cast<double>(images) / seconds;
  const auto left = static_cast<int64_t>(static_cast<double>(images_per_epoch - images) / rate);
  constexpr int kWidth = 24;
  std::string bar(static_cast<size_t>(kWidth * images / images_per_epoch), '#');
  bar.resize(kWidth, '.');
  std::fprintf(stderr, "%s%s [%s] %lld/%lld  %.0f images/s  loss %.4f  top-1 %.2f %%  %lld s left%s",
               terminal_ ? "\r\033[K" : "", epoch_label.c_str(), bar.c_str(), static_cast<long long>(images),
               static_cast<long long>(images_per_epoch), rate, loss, top1, static_cast<long long>(left),
               terminal_ ? "" : "\n");
  std::fflush(stderr);
  line_open_ = terminal_;
}

void Progress::line(const std::string& message) {
  if (quiet_) return;
  std::fprintf(stderr, "%s%s\n", line_open_ ? "\r\033[K" : "", message.c_str());
  line_open_ = false;
}

}  // namespace apotnet
