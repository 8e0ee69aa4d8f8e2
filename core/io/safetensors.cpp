#include "core/io/safetensors.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/crc32c.h"
#include "core/io/half.h"
#include "core/io/printable.h"
#include "core/io/safetensors_header.h"

namespace apotnet {
namespace {

constexpr uint64_t kLargestHeader = 100'000'000;
constexpr const char* kMetadataChecksum = "metadata_crc32c";

template <typename... Parts>
[[noreturn]] void damaged(const std::string& path, const Parts&... parts) {
  fail(ErrorCategory::damaged_data, path, ": ", parts...);
}

// The entries sorted by position; they must cover the data without overlap, hole or rest.
std::vector<const SafetensorsEntry*> in_data_order(const SafetensorsHeader& header, uint64_t data_bytes,
                                                   const std::string& path) {
  std::vector<const SafetensorsEntry*> entries;
  entries.reserve(header.entries.size());
  for (const SafetensorsEntry& entry : header.entries) entries.push_back(&entry);
  std::ranges::stable_sort(entries, [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t covered = 0;
  for (const SafetensorsEntry* entry : entries) {
    if (entry->begin < covered) damaged(path, "tensor ", printable(entry->name), " overlaps the one before it");
    if (entry->begin > covered)
      damaged(path, "a hole of ", entry->begin - covered, " bytes before tensor ", printable(entry->name));
    covered = entry->end;
  }
  if (covered != data_bytes) damaged(path, data_bytes - covered, " bytes at the end belong to no tensor");
  return entries;
}

std::string hexadecimal(uint32_t value) {
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", value);
  return digits;
}

std::string checksum(const Tensor& tensor) { return hexadecimal(crc32c({tensor.raw(), tensor.bytes()})); }

// Of every other entry of the metadata: keys and values, each followed by a zero byte.
std::string metadata_checksum(const TensorFile& file) {
  std::string all;
  for (const auto& [key, value] : file.metadata)
    if (key != kMetadataChecksum) (((all += key) += '\0') += value) += '\0';
  return hexadecimal(crc32c(std::as_bytes(std::span(all))));
}

void verify_checksums(const TensorFile& file, const std::string& path) {
  const auto entry = file.metadata.find("crc32c");
  if (entry == file.metadata.end()) return;
  const auto sums = parse_string_map(entry->second, path, "metadata crc32c");
  for (const auto& [name, tensor] : file.tensors) {
    const auto sum = sums.find(name);
    if (sum == sums.end()) damaged(path, "tensor ", printable(name), " has no checksum though others have");
    if (sum->second != checksum(tensor))
      damaged(path, "tensor ", printable(name), " does not match its checksum; the file is damaged");
  }
  if (sums.size() != file.tensors.size()) damaged(path, "has checksums of tensors that are not there");
  const auto metadata = file.metadata.find(kMetadataChecksum);
  if (metadata != file.metadata.end() && metadata->second != metadata_checksum(file))
    damaged(path, "the metadata do not match their checksum; the file is damaged");
}

// Header length and header of the file, padded to 8 bytes.
std::string serialize_header(const TensorFile& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::set<std::string> names{"__metadata__"};
  uint64_t offset = 0;
  for (const auto& [name, tensor] : file.tensors) {
    require(tensor.defined(), "tensor ", printable(name), " for a file is empty");
    require(is_utf8(name), "the tensor name ", printable(name), " is not UTF-8");
    require(names.insert(name).second, "two tensors named ", printable(name), " for one file");
    nlohmann::ordered_json entry;
    entry["dtype"] = safetensors_name(tensor.dtype());
    entry["shape"] = tensor.shape().sizes();
    entry["data_offsets"] = {offset, offset + tensor.bytes()};
    header[name] = std::move(entry);
    offset += tensor.bytes();
  }
  std::string json = header.dump();
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t length = json.size();
  std::string result(sizeof length, '\0');
  std::memcpy(result.data(), &length, sizeof length);
  return result += json;
}

// `header` must outlive the result.
Chunks chunks_of(const std::string& header, const TensorFile& file) {
  Chunks chunks{std::as_bytes(std::span(header))};
  for (const NamedTensor& entry : file.tensors) chunks.push_back({entry.tensor.raw(), entry.tensor.bytes()});
  return chunks;
}

}  // namespace

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& path) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length) damaged(path, "is too short for a safetensors file");
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto behind = bytes.subspan(sizeof length);
  if (length > kLargestHeader || length > behind.size())
    damaged(path, "claims a header of ", length, " bytes in a file of ", bytes.size());
  if (length == 0 || behind[0] != std::byte{'{'}) damaged(path, "header does not start with '{'; is this safetensors?");
  const auto data = behind.subspan(length);
  SafetensorsHeader header =
      parse_safetensors_header({reinterpret_cast<const char*>(behind.data()), length}, data.size(), path);

  TensorFile file;
  file.metadata = std::move(header.metadata);
  const auto entries = in_data_order(header, data.size(), path);
  file.tensors.reserve(entries.size());
  for (const SafetensorsEntry* entry : entries) {
    Tensor tensor(entry->shape, entry->dtype);
    const auto content = data.subspan(entry->begin, entry->end - entry->begin);
    if (entry->half)
      half_to_float(content, tensor.data<float>());
    else
      tensor.copy_from(content);
    file.tensors.push_back({entry->name, tensor});
  }
  verify_checksums(file, path);
  return file;
}

TensorFile read_safetensors(const std::string& path) { return parse_safetensors(read_file(path), path); }

std::vector<std::byte> serialize_safetensors(const TensorFile& file) {
  const std::string header = serialize_header(file);
  std::vector<std::byte> bytes;
  for (const auto chunk : chunks_of(header, file)) bytes.insert(bytes.end(), chunk.begin(), chunk.end());
  return bytes;
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  const std::string header = serialize_header(file);
  write_file_atomically(path, chunks_of(header, file));
}

void write_safetensors_keeping_former(const std::string& path, const std::string& former_path, const TensorFile& file) {
  const std::string header = serialize_header(file);
  replace_keeping_former(path, former_path, chunks_of(header, file));
}

void add_checksums(TensorFile& file) {
  nlohmann::json sums = nlohmann::json::object();
  for (const auto& [name, tensor] : file.tensors) sums[name] = checksum(tensor);
  file.metadata["crc32c"] = sums.dump();
  file.metadata[kMetadataChecksum] = metadata_checksum(file);
}

}  // namespace apotnet
