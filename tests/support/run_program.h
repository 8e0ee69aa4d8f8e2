#pragma once

#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "tests/support/files.h"

namespace apotnet::test {

/// What a program did.
struct Finished {
  int exit_code = -1;  ///< 128 + signal when a signal ended it
  std::string out, error;

  /// The error output is one line, as every message of ours.
  bool one_line() const { return !error.empty() && error.find('\n') == error.size() - 1; }
};

/// Runs a shell command line and waits for it.
inline Finished run_program(const std::string& command) {
  const TemporaryFolder folder;
  const int status = std::system((command + " >" + folder / "out" + " 2>" + folder / "error" + " </dev/null").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_text(folder / "out"),
          read_text(folder / "error")};
}

}  // namespace apotnet::test
