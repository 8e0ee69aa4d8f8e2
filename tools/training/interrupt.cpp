#include "tools/training/interrupt.h"

#include <csignal>

namespace apotnet {
namespace {

volatile std::sig_atomic_t arrived = 0;

void remember(int signal) {
  arrived = signal;
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace

void watch_for_interrupt() {
  arrived = 0;
  std::signal(SIGINT, remember);
  std::signal(SIGTERM, remember);
}

void stop_watching() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

int interrupted() { return arrived; }

void stop_if_interrupted() {
  if (interrupted()) throw Interrupted{};
}

}  // namespace apotnet
