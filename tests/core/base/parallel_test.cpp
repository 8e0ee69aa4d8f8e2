#include "core/base/parallel.h"

#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

using namespace apotnet;

TEST_CASE("parallel_for visits every chunk once, with any number of threads, also nested") {
  for (const int threads : {1, 2, 5}) {
    set_thread_count(threads);
    std::vector<std::atomic<int>> visits(1000);
    parallel_for(100,
                 [&](int64_t i) { parallel_for(10, [&](int64_t j) { ++visits[static_cast<size_t>(10 * i + j)]; }); });
    for (const auto& count : visits) CHECK(count == 1);
  }
  set_thread_count(1);
}

TEST_CASE("parallel_for rethrows the exception of the smallest chunk and stays usable") {
  for (const int threads : {1, 3}) {
    set_thread_count(threads);
    std::string message;
    try {
      parallel_for(50, [&](int64_t i) {
        if (i >= 7) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    CHECK(message == "7");
    int64_t sum = 0;
    parallel_for(1, [&](int64_t) { sum = 1; });
    CHECK(sum == 1);
  }
  set_thread_count(1);
}

TEST_CASE("parallel_ranges cuts by the grain, not by the thread count") {
  std::vector<int64_t> begins(4), ends(4);
  parallel_ranges(10, 3, [&](int64_t begin, int64_t end) {
    begins[static_cast<size_t>(begin / 3)] = begin;
    ends[static_cast<size_t>(begin / 3)] = end;
  });
  CHECK(begins == std::vector<int64_t>{0, 3, 6, 9});
  CHECK(ends == std::vector<int64_t>{3, 6, 9, 10});
}
