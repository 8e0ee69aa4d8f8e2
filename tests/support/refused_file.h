#pragma once

#include <doctest/doctest.h>

#include <string>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "tests/support/allocation_watch.h"
#include "tests/support/run_program.h"

namespace apotnet::test {

/// A file that must be refused: what is wrong with it, its bytes, and a piece of the message.
struct Malformation {
  std::string name, bytes, fragment;
};

/// Room for messages, tables and the like; what a file may claim must not add to it.
constexpr size_t kSmallAllocations = 1 << 16;

/// Reads the bytes as a file and checks that they are refused as damaged, with one line that names the file, and that
/// nothing larger than twice the file was allocated on the way.
inline void check_refused(const Malformation& row) {
  CAPTURE(row.name);
  const TemporaryFolder folder;
  const std::string path = folder / "damaged";
  write_text(path, row.bytes);
  std::string message;
  int code = 0;
  largest_allocation = 0;
  try {
    read_checkpoint_file(path);
  } catch (const Error& error) {
    message = error.what();
    code = error.exit_code();
  }
  CHECK(largest_allocation <= 2 * row.bytes.size() + kSmallAllocations);
  CHECK_MESSAGE(code == 65, row.name, ": ", message);
  CHECK(message.find('\n') == std::string::npos);
  CHECK(message.find(path) == 0);
  CHECK_MESSAGE(message.find(row.fragment) != std::string::npos, row.name, ": ", message);
}

/// Reads the bytes, which may or may not be a whole file: an Error is fine, anything else is not.
inline void check_survived(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text(folder / "file", bytes);
  largest_allocation = 0;
  try {
    read_checkpoint_file(folder / "file");
  } catch (const Error& error) {
    CHECK(error.exit_code() == 65);
  }
  CHECK(largest_allocation <= 2 * bytes.size() + kSmallAllocations);
}

}  // namespace apotnet::test
