#pragma once

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>

namespace apotnet {

/// Why a command ends; the value is its exit code (sysexits.h where a code exists).
enum class ErrorCategory : int {
  check_failed = 1,
  usage = 64,
  damaged_data = 65,
  input_missing = 66,
  unavailable = 69,
  internal = 70,
  cannot_write = 74,
  diverged = 76,
  configuration = 78,
};

/// The one exception of the project. The message is one line: what, where, what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCategory category, const std::string& message) : std::runtime_error(message), category_(category) {}
  ErrorCategory category() const { return category_; }
  int exit_code() const { return static_cast<int>(category_); }

 private:
  ErrorCategory category_;
};

/// What an exception that ends a command says, and its exit code: any but an Error or bad_alloc is a bug.
struct Failure {
  int exit_code;
  std::string message;
  explicit Failure(const std::exception& error);
};

/// Joins its arguments as `operator<<` prints them.
template <typename... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Throws Error(category) with the joined parts as its message.
template <typename... Parts>
[[noreturn]] void fail(ErrorCategory category, const Parts&... parts) {
  throw Error(category, text(parts...));
}

/// Checks what only a bug of this project can break; bad input has its own messages.
template <typename... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(ErrorCategory::internal, parts...);
}

}  // namespace apotnet
