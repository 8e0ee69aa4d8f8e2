// What stands behind the bench command: its arithmetic, and that a kernel that is wrong is not timed.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>

#include "core/base/error.h"
#include "core/base/isa.h"
#include "core/kernels/kernels.h"
#include "tools/bench/calibration.h"
#include "tools/bench/kernel_problem.h"
#include "tools/bench/measure.h"

using namespace apotnet;

namespace {

/// The plain loops, with one result pushed off by `error`.
KernelContestant spoilt(KernelTask task, float error) {
  return {"spoilt", task, [task, error](const KernelProblem& problem) {
            Tensor result(problem.result_shape(task), DType::f32);
            const auto run = [&problem, task, error, result]() mutable {
              result.copy_from({problem.expected(task).raw(), result.bytes()});
              result.data<float>().back() += error;
            };
            return PreparedKernel{result, run};
          }};
}

}  // namespace

TEST_CASE("rates are summarised by median and extremes") {
  const Rates rates = summarise({5, 1, 4, 2, 3});
  CHECK(rates.median == 3);
  CHECK(rates.min == 1);
  CHECK(rates.max == 5);
  CHECK(rates.repeats == 5);
  CHECK_THROWS_AS(summarise({}), Error);
}

TEST_CASE("works are timed in turn, at least five rounds") {
  std::string order;
  const auto work = [&](char name) {
    return [&order, name] {
      order += name;
      const std::clock_t start = std::clock();
      while (std::clock() - start < CLOCKS_PER_SEC / 500) continue;
    };
  };
  const std::vector<Rates> rates = measure_in_turn({{10, work('a')}, {20, work('b')}}, 0);
  REQUIRE(rates.size() == 2);
  CHECK(rates[0].repeats == 5);
  CHECK(rates[1].min > 0);
  CHECK(rates[0].min <= rates[0].median);
  CHECK(rates[0].median <= rates[0].max);
  CHECK(order.starts_with("aabb"));  // the warm-up and the choice of repeats
  CHECK(order.find("ab", 4) != std::string::npos);

  int steps = 0, at_ready = 0;
  CHECK(measure({1, [&] { ++steps; }}, 0, [&] { at_ready = steps; }).repeats == 5);
  CHECK(at_ready == 2);
  CHECK(steps == 7);
}

TEST_CASE("the peaks are there where the processor has the instructions") {
  const Peaks peaks = measure_peaks(0.001);
  CHECK(peaks.fma.has_value() == (selected_isa() >= Isa::avx2));
  CHECK(peaks.maddubs.has_value() == (selected_isa() >= Isa::avx2));
  CHECK(peaks.vnni.has_value() == (selected_isa() >= Isa::vnni));
  if (peaks.fma) CHECK(*peaks.fma > 0);
  CHECK(peaks.integers() == (peaks.vnni ? peaks.vnni : peaks.maddubs));

  nlohmann::ordered_json line;
  add_peaks(line, mean_of(Peaks{.fma = 10, .maddubs = 30, .vnni = {}}, Peaks{.fma = 20, .maddubs = 30, .vnni = {}}));
  CHECK(line["fma_gmacs"] == 15);
  CHECK(line["maddubs_gmacs"] == 30);
  CHECK(line["vnni_gmacs"].is_null());
}

TEST_CASE("every contestant of bench kernels computes what the plain loops do") {
  for (const KernelShape& shape : kernel_shapes())
    for (const KernelContestant& contestant : kernel_contestants())
      for (const int bits : {2, 3, 4, 5}) {
        if (contestant.task != KernelTask::codes && bits != 4) continue;
        if (contestant.takes(KernelProblem::make(shape, bits, 1)))
          CHECK_NOTHROW(check_contestant(contestant, shape, bits));
      }
}

TEST_CASE("the codes of a kernel problem take every level, and a wrong contestant is an error") {
  const KernelShape& shape = kernel_shapes().front();
  const KernelProblem problem = KernelProblem::make(shape, 4, 1);
  for (const int64_t level : problem.x_codes.levels->codes())
    CHECK(std::ranges::find(problem.x_codes.codes.data<uint8_t>(), level) !=
          problem.x_codes.codes.data<uint8_t>().end());
  for (const int64_t level : problem.w_codes.levels->codes())
    for (const int64_t code : {level, -level})
      CHECK(std::ranges::find(problem.w_codes.codes.data<int8_t>(), code) !=
            problem.w_codes.codes.data<int8_t>().end());

  CHECK_NOTHROW(check_contestant(spoilt(KernelTask::codes, 0), shape, 4));
  CHECK_NOTHROW(check_contestant(spoilt(KernelTask::forward, 1e-6f), shape, 4));
  for (const KernelTask task : {KernelTask::codes, KernelTask::forward, KernelTask::backward_weight}) {
    try {
      check_contestant(spoilt(task, 1), shape, 4);
      CHECK(false);
    } catch (const Error& error) {
      CHECK(error.exit_code() == 70);
      CHECK(std::string(error.what()).find("spoilt, 16x32x32, 4 bits") != std::string::npos);
    }
  }
  CHECK_THROWS_AS(check_contestant(spoilt(KernelTask::forward, NAN), shape, 4), Error);
}
