#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/io/tensor_file.h"

namespace apotnet {

/// The safetensors format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, the
/// data.
///
/// Reading believes nothing: sizes, overlaps, holes, trailing bytes, duplicate names and types are checked before
/// anything is allocated. F16 becomes f32. Tensors come in the order of their data. Where the metadata have "crc32c"
/// (see add_checksums) every tensor is verified. Error(damaged_data) with one line that names the file and the tensor.
TensorFile read_safetensors(const std::string& path);
TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& path);

/// The same content gives the same bytes. Tensors stand in the order given; the header is padded with spaces to 8
/// bytes.
std::vector<std::byte> serialize_safetensors(const TensorFile& file);
/// Atomic (core/io/atomic_file.h). Error(cannot_write).
void write_safetensors(const std::string& path, const TensorFile& file);
void write_safetensors_keeping_former(const std::string& path, const std::string& former, const TensorFile& file);

/// Adds metadata "crc32c": a JSON object of every tensor's CRC-32C as 8 hexadecimal digits.
void add_checksums(TensorFile& file);

}  // namespace apotnet
