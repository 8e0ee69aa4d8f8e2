#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace apotnet {

/// The whole file. Error(input_missing) when there is none, Error(damaged_data) when it is a folder or cannot be read.
std::vector<std::byte> read_file(const std::string& path);

/// Writes PATH.tmp.<pid>, flushes it to the disk and renames it over `path`: a crash at any moment leaves either the
/// former file or the new one, never half of one. Error(cannot_write); the temporary file is removed.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// The same, and the file that stood at `path` is kept as `former`. At every moment one of the two names holds a whole
/// file.
void write_file_keeping_former(const std::string& path, const std::string& former, std::span<const std::byte> bytes);

}  // namespace apotnet
