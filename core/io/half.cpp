#include "core/io/half.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace apotnet {

void half_to_float(std::span<const std::byte> halves, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, halves.data() + 2 * i, 2);
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                  : exponent == 31 ? (fraction ? NAN : INFINITY)
                                   : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    out[i] = bits & 0x8000 ? -value : value;
  }
}

void bfloat16_to_float(std::span<const std::byte> values, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, values.data() + 2 * i, 2);
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
}

}  // namespace apotnet
