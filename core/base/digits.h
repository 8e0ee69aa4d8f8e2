#pragma once

#include <array>
#include <charconv>
#include <string>

namespace apotnet {

/// The fewest digits that read back to the same number.
template <typename Number>
std::string shortest_digits(Number value) {
  std::array<char, 64> digits;
  return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
}

}  // namespace apotnet
