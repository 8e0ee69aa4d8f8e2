#include "tools/time_stamp.h"

#include <ctime>

namespace apotnet {

std::string time_stamp() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char digits[32];
  return {digits, std::strftime(digits, sizeof digits, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

}  // namespace apotnet
