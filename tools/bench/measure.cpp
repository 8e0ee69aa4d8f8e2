#include "tools/bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <utility>

#include "core/base/error.h"

namespace apotnet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& run) {
  const auto start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Processor time: what other programs take of this processor meanwhile does not count.
double processor_seconds_of(const std::function<void()>& run, int64_t times) {
  const std::clock_t start = std::clock();
  for (int64_t i = 0; i < times; ++i) run();
  return static_cast<double>(std::max<std::clock_t>(std::clock() - start, 1)) / CLOCKS_PER_SEC;
}

constexpr int64_t kFewestRounds = 5;
constexpr double kShortestTurn = 1e-3;  // seconds: the clock's own cost is far below

}  // namespace

Rates summarise(std::vector<double> rates) {
  require(!rates.empty(), "bench: nothing was measured");
  std::ranges::sort(rates);
  return {rates[rates.size() / 2], rates.front(), rates.back(), static_cast<int64_t>(rates.size())};
}

std::vector<Rates> measure_in_turn(const std::vector<TimedWork>& works, double seconds) {
  struct Turns {
    int64_t times = 1;
    double spent = 0;
    std::vector<double> rates;
  };
  std::vector<Turns> turns(works.size());
  for (size_t i = 0; i < works.size(); ++i) {
    works[i].run();
    turns[i].times = std::llround(kShortestTurn / std::max(seconds_of(works[i].run), 1e-7));
    turns[i].times = std::max<int64_t>(1, turns[i].times);
  }
  for (bool running = true; running;) {
    running = false;
    for (size_t i = 0; i < works.size(); ++i) {
      Turns& mine = turns[i];
      if (static_cast<int64_t>(mine.rates.size()) >= kFewestRounds && mine.spent >= seconds) continue;
      const double taken = processor_seconds_of(works[i].run, mine.times);
      mine.rates.push_back(works[i].amount * static_cast<double>(mine.times) / taken);
      mine.spent += taken;
      running = true;
    }
  }
  std::vector<Rates> summaries;
  for (Turns& of_work : turns) summaries.push_back(summarise(std::move(of_work.rates)));
  return summaries;
}

Rates measure(const TimedWork& work, double seconds, const std::function<void()>& ready) {
  for (int i = 0; i < 2; ++i) work.run();
  if (ready) ready();
  std::vector<double> rates;
  const auto start = Clock::now();
  const std::chrono::duration<double> budget(seconds);
  while (static_cast<int64_t>(rates.size()) < kFewestRounds || Clock::now() - start < budget)
    rates.push_back(work.amount / seconds_of(work.run));
  return summarise(std::move(rates));
}

}  // namespace apotnet
