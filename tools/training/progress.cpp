#include "tools/training/progress.h"

#include <cstdio>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "tools/fixed.h"
#include "tools/time_stamp.h"

namespace apotnet {
namespace {

constexpr int kBarColumns = 24;

std::string rate_of(const ProgressState& state) {
  return state.images_per_second > 0 ? fixed(state.images_per_second, 0) + " images/s" : "- images/s";
}

}  // namespace

std::string progress_bar(const ProgressState& state, const Terminal& terminal) {
  const int64_t all = std::max<int64_t>(state.images_per_epoch, 1);
  const auto filled = static_cast<size_t>(kBarColumns * std::min(state.images, all) / all);
  // In the order of their worth: what does not fit is left away from the end.
  const std::string parts[] = {text("  ", 100 * std::min(state.images, all) / all, " %"),
                               "  loss " + fixed(state.loss, 3),
                               "  top-1 " + fixed(state.top1, 2) + " %",
                               "  left " + duration(state.seconds_left),
                               "  all " + duration(state.all_seconds),
                               "  " + rate_of(state)};
  const auto room = static_cast<size_t>(std::max(terminal.columns - 1, 1));
  std::string line = state.label.substr(0, room);
  size_t columns = line.size();
  if (columns + kBarColumns + 1 <= room) {
    line += " " + std::string(filled, '#') + terminal.faint(std::string(kBarColumns - filled, '.'));
    columns += kBarColumns + 1;
  }
  for (const std::string& part : parts) {
    if (columns + part.size() > room) break;
    line += part;
    columns += part.size();
  }
  return line;
}

std::string progress_line(const ProgressState& state) {
  return text(state.label, ": ", state.images, "/", state.images_per_epoch, " images, ", rate_of(state), ", loss ",
              fixed(state.loss, 4), ", top-1 ", fixed(state.top1, 2), " %, left ", duration(state.seconds_left),
              ", all stages ", duration(state.all_seconds));
}

Progress::Progress(bool quiet, const Terminal& terminal)
    : quiet_(quiet), terminal_(terminal), last_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (line_open_) std::fputs("\n", stderr);
}

void Progress::log_to(const std::string& path) {
  log_path_ = path;
  for (const std::string& line : std::exchange(unwritten_, {})) log(line);
}

void Progress::update(const ProgressState& state) {
  const auto now = std::chrono::steady_clock::now();
  const auto pause = std::chrono::milliseconds(terminal_.interactive ? 200 : 10000);
  if (quiet_ || now - last_ < pause) return;
  last_ = now;
  if (terminal_.interactive)
    std::fprintf(stderr, "\r\033[K%s", progress_bar(state, terminal_).c_str());
  else
    std::fprintf(stderr, "%s\n", progress_line(state).c_str());
  std::fflush(stderr);
  line_open_ = terminal_.interactive;
}

void Progress::line(const std::string& message) { quiet_ ? log(message) : last_line(message); }

void Progress::last_line(const std::string& message) {
  log(message);
  std::fprintf(stderr, "%s%s\n", line_open_ ? "\r\033[K" : "", message.c_str());
  line_open_ = false;
}

void Progress::log(const std::string& message) {
  if (log_path_.empty()) {
    unwritten_.push_back(message);
    return;
  }
  const std::string line = time_stamp() + " " + message + "\n";
  append_to_file(log_path_, std::as_bytes(std::span(line)));
}

}  // namespace apotnet
