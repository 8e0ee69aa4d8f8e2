#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace apotnet {

/// How fast repeated runs of one piece of work were.
struct Rates {
  double median = 0, min = 0, max = 0;
  int64_t repeats = 0;
};

/// Of at least one rate.
Rates summarise(std::vector<double> rates);

/// A piece of work of `amount` units (images, multiplications); its rates are units per second.
struct TimedWork {
  double amount;
  std::function<void()> run;
};

/// Runs works of one thread in turn, round after round, so that a slow moment of the machine meets all of them. Each
/// has run once untimed, then takes at least 5 turns and `seconds` of processor time. A turn of less than a millisecond
/// is repeated within its timing.
std::vector<Rates> measure_in_turn(const std::vector<TimedWork>& works, double seconds);

/// One work alone, on any number of threads, by the clock on the wall; `ready` is called after the warm-up.
Rates measure(const TimedWork& work, double seconds, const std::function<void()>& ready = {});

}  // namespace apotnet
