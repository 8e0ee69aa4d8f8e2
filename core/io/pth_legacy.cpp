#include <cstring>

#include "core/base/error.h"
#include "core/io/printable.h"
#include "core/io/pth_parts.h"

namespace apotnet {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kMagic{"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10};  // 0x1950a86a20f9469cfc6c
constexpr int64_t kProtocol = 1001;

template <typename... Parts>
[[noreturn]] void damaged(const std::string& path, const Parts&... parts) {
  fail(ErrorCategory::damaged_data, path, ": ", parts...);
}

void check_system(const PickleValue& system, const std::string& path) {
  const PickleValue* little_endian = system.find("little_endian");
  if (!little_endian || little_endian->kind != Kind::boolean) damaged(path, "does not say its byte order");
  if (!little_endian->integer) damaged(path, "was written on a big-endian machine, which is not read");
}

// One storage: its number of elements, then the elements. Moves `bytes` behind it.
std::span<const std::byte> take_storage(std::span<const std::byte>& bytes, const PickleValue& storage,
                                        const std::string& path) {
  int64_t count = 0;
  if (bytes.size() < sizeof count) damaged(path, "storage ", printable(storage.string), " is cut off");
  std::memcpy(&count, bytes.data(), sizeof count);
  bytes = bytes.subspan(sizeof count);
  if (count != storage.integer)
    damaged(path, "storage ", printable(storage.string), " has ", count, " elements, its description says ",
            storage.integer);
  if (static_cast<uint64_t>(count) > bytes.size() / storage.item_bytes())
    damaged(path, "storage ", printable(storage.string), " is cut off");
  const auto content = bytes.first(static_cast<size_t>(count) * storage.item_bytes());
  bytes = bytes.subspan(content.size());
  return content;
}

}  // namespace

std::map<std::string, const PickleValue*> named_storages(const PickleValues& values, const std::string& path) {
  std::map<std::string, const PickleValue*> named;
  for (const PickleValue& value : values) {
    if (value.kind != Kind::storage) continue;
    const PickleValue& first = *named.emplace(value.string, &value).first->second;
    if (first.integer != value.integer || first.dtype != value.dtype || first.encoding != value.encoding)
      damaged(path, "storage ", printable(value.string), " is described in two different ways");
  }
  return named;
}

PthParts read_pth_legacy(std::span<const std::byte> bytes, const std::string& path) {
  PthParts parts;
  const auto whole = bytes;
  const auto next = [&]() -> const PickleValue& { return read_pickle(bytes, parts.values, whole, path); };
  if (const PickleValue& magic = next(); magic.kind != Kind::big_integer || magic.string != kMagic)
    damaged(path, "is no PyTorch checkpoint: the magic number is missing");
  if (const PickleValue& protocol = next(); protocol.kind != Kind::integer || protocol.integer != kProtocol)
    damaged(path, "has an unknown PyTorch stream protocol; only ", kProtocol, " is known");
  check_system(next(), path);
  parts.root = &next();
  const PickleValue& keys = next();
  const auto named = named_storages(parts.values, path);
  if (keys.kind != Kind::list) damaged(path, "the list of storages is missing");
  for (const PickleValue* key : keys.items) {
    const auto found = key->kind == Kind::string ? named.find(key->string) : named.end();
    if (found == named.end()) damaged(path, "lists a storage that no tensor names: ", printable(key->string));
    if (parts.storages.contains(key->string)) damaged(path, "lists storage ", printable(key->string), " twice");
    parts.storages[key->string] = take_storage(bytes, *found->second, path);
  }
  if (!bytes.empty()) damaged(path, bytes.size(), " bytes at the end belong to nothing");
  for (const auto& [key, storage] : named)
    if (!parts.storages.contains(key)) damaged(path, "storage ", printable(key), " is missing");
  return parts;
}

}  // namespace apotnet
