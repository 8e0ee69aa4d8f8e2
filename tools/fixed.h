#pragma once

#include <cstdio>
#include <string>

namespace apotnet {

/// A number with a fixed count of decimals, for people to read.
inline std::string fixed(double value, int decimals) {
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.*f", decimals, value);
  return digits;
}

}  // namespace apotnet
