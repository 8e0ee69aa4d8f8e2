#pragma once

#include <cstddef>
#include <span>

namespace apotnet {

/// IEEE half and bfloat16 bit patterns (little-endian, as they stand in a file) to float32, exactly.
void half_to_float(std::span<const std::byte> halves, std::span<float> out);
void bfloat16_to_float(std::span<const std::byte> values, std::span<float> out);

}  // namespace apotnet
