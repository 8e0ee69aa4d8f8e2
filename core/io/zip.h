#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace apotnet {

/// The entries of a zip archive whose files are stored without compression, as PyTorch writes them: name to content.
///
/// Positions and sizes come from the central directory (zip64 included); local headers must agree, entries must lie
/// inside the file and not overlap, and every CRC-32 must match. Error(damaged_data) otherwise.
std::map<std::string, std::span<const std::byte>> read_stored_zip(std::span<const std::byte> file,
                                                                  const std::string& path);

}  // namespace apotnet
