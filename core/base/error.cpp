#include "core/base/error.h"

#include <new>

namespace apotnet {

Failure::Failure(const std::exception& error)
    : exit_code(static_cast<int>(ErrorCategory::internal)), message(error.what()) {
  if (const auto* own = dynamic_cast<const Error*>(&error)) exit_code = own->exit_code();
  if (dynamic_cast<const std::bad_alloc*>(&error)) {
    exit_code = static_cast<int>(ErrorCategory::unavailable);
    message = "out of memory; a smaller batch needs less";
  }
  if (exit_code == static_cast<int>(ErrorCategory::internal))
    message += " (a bug: please report it with the command line)";
}

}  // namespace apotnet
