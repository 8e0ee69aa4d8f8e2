#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace apotnet {

/// CRC-32C (Castagnoli) of the bytes; of "123456789" it is 0xE3069283.
uint32_t crc32c(std::span<const std::byte> bytes);

}  // namespace apotnet
