#include "core/io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/crc32c.h"
#include "core/io/half.h"

namespace apotnet {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLargestHeader = 100'000'000;
constexpr int kDeepestNesting = 4;  // header > tensor > shape is 3

struct TypeName {
  const char* name;
  DType dtype;
};
constexpr std::array kTypes{TypeName{"F64", DType::f64}, TypeName{"F32", DType::f32}, TypeName{"BF16", DType::bf16},
                            TypeName{"U8", DType::u8},   TypeName{"I8", DType::s8},   TypeName{"I16", DType::s16},
                            TypeName{"I32", DType::s32}, TypeName{"I64", DType::i64}};

// One tensor as the header describes it.
struct Entry {
  std::string name;
  DType dtype = DType::f32;
  bool half = false;  // F16 in the file, f32 in memory
  Shape shape;
  uint64_t begin = 0, end = 0;
};

template <typename... Parts>
[[noreturn]] void damaged(const std::string& path, const Parts&... parts) {
  fail(ErrorCategory::damaged_data, path, ": ", parts...);
}

// Parses the header, refusing what nlohmann/json would let pass: a key twice, nesting without end.
Json parse_header(std::string_view header, const std::string& path) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start) {
      if (depth >= kDeepestNesting) damaged(path, "the header is nested more than ", kDeepestNesting, " deep");
      keys.resize(static_cast<size_t>(depth) + 1);
      keys.back().clear();
    }
    if (event == Json::parse_event_t::key &&
        !keys[static_cast<size_t>(depth) - 1].insert(parsed.get<std::string>()).second)
      damaged(path, "\"", parsed.get<std::string>(), "\" stands twice in the header");
    return true;
  };
  try {
    Json parsed = Json::parse(header.begin(), header.end(), watch);
    if (!parsed.is_object()) damaged(path, "the header is not a JSON object");
    return parsed;
  } catch (const Json::exception&) {
    damaged(path, "the header is not valid JSON; is this a safetensors file?");
  }
}

uint64_t natural_number(const Json& value, const std::string& path, const std::string& name, const char* what) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > (uint64_t{1} << 53))
    damaged(path, "tensor ", name, ": ", what, " must be natural numbers below 2^53, not ", value.dump().substr(0, 40));
  return value.get<uint64_t>();
}

Shape parse_shape(const Json& value, size_t item_bytes, uint64_t data_bytes, const std::string& path,
                  const std::string& name) {
  if (!value.is_array() || value.size() > Shape::kMaxRank)
    damaged(path, "tensor ", name, ": shape must be a list of at most ", Shape::kMaxRank, " sizes");
  std::vector<int64_t> sizes;
  uint64_t elements = 1;
  for (const Json& size : value) {
    const uint64_t number = natural_number(size, path, name, "sizes");
    if (number != 0 && elements > data_bytes / item_bytes / number)
      damaged(path, "tensor ", name, ": its shape needs more bytes than the file has");
    elements *= number;
    sizes.push_back(static_cast<int64_t>(number));
  }
  return Shape(sizes);
}

Entry parse_entry(const std::string& name, const Json& value, uint64_t data_bytes, const std::string& path) {
  if (name.empty()) damaged(path, "a tensor without a name");
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets"))
    damaged(path, "tensor ", name, ": needs exactly dtype, shape and data_offsets");
  Entry entry;
  entry.name = name;
  const std::string type = value["dtype"].is_string() ? value["dtype"].get<std::string>() : value["dtype"].dump();
  const auto known = std::ranges::find_if(kTypes, [&](const TypeName& candidate) { return type == candidate.name; });
  entry.half = type == "F16";
  if (known == kTypes.end() && !entry.half)
    damaged(path, "tensor ", name, ": unknown type ", type.substr(0, 40),
            "; known are F64 F32 F16 BF16 U8 I8 I16 I32 I64");
  if (!entry.half) entry.dtype = known->dtype;
  const size_t item = entry.half ? 2 : size_of(entry.dtype);
  entry.shape = parse_shape(value["shape"], item, data_bytes, path, name);
  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) damaged(path, "tensor ", name, ": data_offsets must be two numbers");
  entry.begin = natural_number(offsets[0], path, name, "data_offsets");
  entry.end = natural_number(offsets[1], path, name, "data_offsets");
  if (entry.begin > entry.end || entry.end > data_bytes)
    damaged(path, "tensor ", name, ": data_offsets [", entry.begin, ", ", entry.end, "] are outside the ", data_bytes,
            " bytes of data");
  if (const uint64_t needed = static_cast<uint64_t>(entry.shape.elements()) * item; entry.end - entry.begin != needed)
    damaged(path, "tensor ", name, ": has ", entry.end - entry.begin, " bytes, its shape and type need ", needed);
  return entry;
}

// Sorted by position, the tensors must cover the data without overlap, hole or rest.
void check_coverage(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& path) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < covered) damaged(path, "tensor ", entry.name, ": overlaps the one before it");
    if (entry.begin > covered)
      damaged(path, "tensor ", entry.name, ": a hole of ", entry.begin - covered, " bytes before it");
    covered = entry.end;
  }
  if (covered != data_bytes) damaged(path, data_bytes - covered, " bytes at the end belong to no tensor");
}

std::string hexadecimal(uint32_t value) {
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", value);
  return digits;
}

void verify_checksums(const TensorFile& file, const std::string& path) {
  const auto entry = file.metadata.find("crc32c");
  if (entry == file.metadata.end()) return;
  const Json sums = Json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  if (!sums.is_object()) damaged(path, "the metadata crc32c are not a JSON object");
  for (const NamedTensor& tensor : file.tensors) {
    const auto sum = sums.find(tensor.name);
    if (sum == sums.end() || *sum != hexadecimal(crc32c({tensor.tensor.raw(), tensor.tensor.bytes()})))
      damaged(path, "tensor ", tensor.name, ": its checksum does not match; the file is damaged");
  }
}

}  // namespace

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < 8) damaged(path, "is too short for a safetensors file");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kLargestHeader || header_bytes > bytes.size() - 8)
    damaged(path, "claims a header of ", header_bytes, " bytes in a file of ", bytes.size());
  const Json header = parse_header({reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes}, path);
  const auto data = bytes.subspan(8 + header_bytes);

  TensorFile file;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(parse_entry(name, value, data.size(), path));
      continue;
    }
    if (!value.is_object()) damaged(path, "__metadata__ is not an object");
    for (const auto& [key, entry] : value.items()) {
      if (!entry.is_string()) damaged(path, "__metadata__ ", key, " is not a string");
      file.metadata[key] = entry.get<std::string>();
    }
  }
  check_coverage(entries, data.size(), path);
  for (const Entry& entry : entries) {
    Tensor tensor(entry.shape, entry.dtype);
    const auto content = data.subspan(entry.begin, entry.end - entry.begin);
    if (entry.half)
      half_to_float(content, tensor.data<float>());
    else
      tensor.copy_from(content);
    file.tensors.push_back({entry.name, tensor});
  }
  verify_checksums(file, path);
  return file;
}

TensorFile read_safetensors(const std::string& path) { return parse_safetensors(read_file(path), path); }

std::vector<std::byte> serialize_safetensors(const TensorFile& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : file.tensors) {
    require(!header.contains(name), "two tensors named ", name, " for one file");
    const auto type =
        std::ranges::find_if(kTypes, [&](const TypeName& candidate) { return candidate.dtype == tensor.dtype(); });
    header[name] = {
        {"dtype", type->name}, {"shape", tensor.shape().sizes()}, {"data_offsets", {offset, offset + tensor.bytes()}}};
    offset += tensor.bytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::vector<std::byte> bytes(8 + text.size() + offset);
  const uint64_t header_bytes = text.size();
  std::memcpy(bytes.data(), &header_bytes, 8);
  std::memcpy(bytes.data() + 8, text.data(), text.size());
  std::byte* position = bytes.data() + 8 + text.size();
  for (const auto& [name, tensor] : file.tensors) {
    if (tensor.bytes() > 0) std::memcpy(position, tensor.raw(), tensor.bytes());
    position += tensor.bytes();
  }
  return bytes;
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  write_file_atomically(path, serialize_safetensors(file));
}

void write_safetensors_keeping_former(const std::string& path, const std::string& former, const TensorFile& file) {
  write_file_keeping_former(path, former, serialize_safetensors(file));
}

void add_checksums(TensorFile& file) {
  nlohmann::ordered_json sums = nlohmann::ordered_json::object();
  for (const auto& [name, tensor] : file.tensors) sums[name] = hexadecimal(crc32c({tensor.raw(), tensor.bytes()}));
  file.metadata["crc32c"] = sums.dump();
}

}  // namespace apotnet
