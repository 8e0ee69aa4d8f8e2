#include "tools/bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "core/base/error.h"

namespace apotnet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& run, int64_t times) {
  const auto start = Clock::now();
  for (int64_t i = 0; i < times; ++i) run();
  return std::chrono::duration<double>(Clock::now() - start).count();
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
  std::vector<int64_t> times;
  for (const TimedWork& work : works) {
    work.run();
    const double once = seconds_of(work.run, 1);
    times.push_back(std::max<int64_t>(1, std::llround(kShortestTurn / std::max(once, 1e-7))));
  }
  std::vector<std::vector<double>> rates(works.size());
  const auto start = Clock::now();
  const std::chrono::duration<double> budget(seconds * static_cast<double>(works.size()));
  for (int64_t round = 0; round < kFewestRounds || Clock::now() - start < budget; ++round)
    for (size_t i = 0; i < works.size(); ++i)
      rates[i].push_back(works[i].amount * static_cast<double>(times[i]) / seconds_of(works[i].run, times[i]));
  std::vector<Rates> summaries;
  for (std::vector<double>& of_work : rates) summaries.push_back(summarise(std::move(of_work)));
  return summaries;
}

Rates measure(const TimedWork& work, double seconds, const std::function<void()>& ready) {
  for (int i = 0; i < 2; ++i) work.run();
  if (ready) ready();
  std::vector<double> rates;
  const auto start = Clock::now();
  const std::chrono::duration<double> budget(seconds);
  while (static_cast<int64_t>(rates.size()) < kFewestRounds || Clock::now() - start < budget)
    rates.push_back(work.amount / seconds_of(work.run, 1));
  return summarise(std::move(rates));
}

}  // namespace apotnet
