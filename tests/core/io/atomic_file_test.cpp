#include "core/io/atomic_file.h"

#include <doctest/doctest.h>

#include <functional>

#include "core/base/error.h"
#include "tests/support/run_program.h"

using namespace apotnet;
using test::TemporaryFolder;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

int code_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find('\n') == std::string::npos);
    return error.exit_code();
  }
  return 0;
}

size_t files_in(const std::string& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a file is replaced whole and leaves no temporary file") {
  const TemporaryFolder folder;
  const std::string first = "first", second = "the second";
  write_file_atomically(folder / "x", bytes_of(first));
  write_file_atomically(folder / "x", bytes_of(second));
  CHECK(test::read_text(folder / "x") == second);
  CHECK(files_in(folder.string()) == 1);
}

TEST_CASE("the former file is kept under its name") {
  const TemporaryFolder folder;
  for (const std::string content : {"one", "two", "three"})
    write_file_keeping_former(folder / "last", folder / "last.prev", bytes_of(content));
  CHECK(test::read_text(folder / "last") == "three");
  CHECK(test::read_text(folder / "last.prev") == "two");
  CHECK(files_in(folder.string()) == 2);
}

TEST_CASE("what cannot be written says so with 74 and changes nothing") {
  const TemporaryFolder folder;
  const std::string content = "x";
  CHECK(code_of([&] { write_file_atomically(folder / "no/such/folder", bytes_of(content)); }) == 74);
  std::filesystem::create_directory(folder / "taken");
  CHECK(code_of([&] { write_file_atomically(folder / "taken", bytes_of(content)); }) == 74);
  CHECK(files_in(folder.string()) == 1);
}

TEST_CASE("a missing file is 66, a folder 65") {
  const TemporaryFolder folder;
  CHECK(code_of([&] { read_file(folder / "nothing"); }) == 66);
  CHECK(code_of([&] { read_file(folder.string()); }) == 65);
}
