#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/io/tensor_file.h"

namespace apotnet {

/// The safetensors format: 8 bytes of header length (little-endian), a JSON header
/// {name: {dtype, shape, data_offsets}}, the data.
///
/// Reading believes nothing: types, sizes, overlaps, holes, trailing bytes and duplicate names are checked before
/// anything is allocated. F16 becomes f32. Tensors come in the order of their data. Where the metadata have "crc32c"
/// (see add_checksums) every tensor is verified. Error(input_missing); Error(damaged_data) names file and tensor.
TensorFile read_safetensors(const std::string& path);
/// The same for a file in memory; `path` is for the messages.
TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& path);

/// The same content gives the same bytes. Tensors stand in the order given; the header is padded with spaces to 8
/// bytes. Error(internal) for two tensors of one name or a name that is not UTF-8.
std::vector<std::byte> serialize_safetensors(const TensorFile& file);
/// Atomic, see write_file_atomically. Error(cannot_write).
void write_safetensors(const std::string& path, const TensorFile& file);
/// The same, keeping what stood at `path`, see replace_keeping_former.
void write_safetensors_keeping_former(const std::string& path, const std::string& former_path, const TensorFile& file);

/// Sets metadata "crc32c": a JSON object {"name": "8 hexadecimal digits"} with the CRC-32C of every tensor's bytes, and
/// "metadata_crc32c": the CRC-32C of all other metadata, sorted by key, each key and value followed by a zero byte.
void add_checksums(TensorFile& file);

}  // namespace apotnet
