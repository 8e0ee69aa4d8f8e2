#include "core/base/error.h"

#include <doctest/doctest.h>

#include <new>

using namespace apotnet;

TEST_CASE("a failure has the exit code of its error; what nobody expected is a bug") {
  const Failure damaged(Error(ErrorCategory::damaged_data, "x.pth: is cut off"));
  CHECK(damaged.exit_code == 65);
  CHECK(damaged.message == "x.pth: is cut off");
  const Failure bug(Error(ErrorCategory::internal, "a contradiction"));
  CHECK(bug.exit_code == 70);
  CHECK(bug.message == "a contradiction (a bug: please report it with the command line)");
  const Failure memory{std::bad_alloc()};
  CHECK(memory.exit_code == 69);
  CHECK(memory.message.starts_with("out of memory"));
  const Failure other{std::out_of_range("map::at")};
  CHECK(other.exit_code == 70);
  CHECK(other.message.starts_with("map::at (a bug"));
}
