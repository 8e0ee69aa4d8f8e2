#include <string_view>

#include "core/base/error.h"
#include "core/io/printable.h"
#include "core/io/pth_parts.h"
#include "core/io/zip.h"

namespace apotnet {
namespace {

using Entries = std::map<std::string, std::span<const std::byte>>;

template <typename... Parts>
[[noreturn]] void damaged(const std::string& path, const Parts&... parts) {
  fail(ErrorCategory::damaged_data, path, ": ", parts...);
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// All entries stand in one folder, named as the file once was: "archive/".
std::string folder_of(const Entries& entries, const std::string& path) {
  const std::string pickle = "data.pkl";
  for (const auto& [name, content] : entries) {
    const std::string folder = name.substr(0, name.find('/') + 1);
    if (folder.empty() || name != folder + pickle) continue;
    for (const auto& [other, ignored] : entries)
      if (!other.starts_with(folder)) damaged(path, "zip entry ", printable(other), " is outside ", printable(folder));
    return folder;
  }
  damaged(path, "is a zip archive without data.pkl: no PyTorch checkpoint");
}

void check_format(const Entries& entries, const std::string& folder, const std::string& path) {
  if (entries.contains(folder + "constants.pkl"))
    damaged(path, "is a TorchScript program; save the state dict instead");
  const auto version = entries.find(folder + "version");
  if (version == entries.end()) damaged(path, "has no version entry");
  if (const auto text = as_text(version->second); text != "3\n" && text != "2\n")
    damaged(path, "has version ", printable(text), "; 2 and 3 are known");
  const auto order = entries.find(folder + "byteorder");  // older versions of PyTorch do not write it
  if (order != entries.end() && as_text(order->second) != "little")
    damaged(path, "has byte order ", printable(as_text(order->second)), "; only little is read");
}

}  // namespace

PthParts read_pth_zip(std::span<const std::byte> bytes, const std::string& path) {
  const Entries entries = read_stored_zip(bytes, path);
  const std::string folder = folder_of(entries, path);
  check_format(entries, folder, path);
  PthParts parts;
  auto pickle = entries.at(folder + "data.pkl");
  parts.root = &read_pickle(pickle, parts.values, bytes, path);
  if (!pickle.empty()) damaged(path, pickle.size(), " bytes of data.pkl are left over");

  const std::string data = folder + "data/";
  const auto named = named_storages(parts.values, path);
  for (const auto& [key, storage] : named) {
    const auto entry = entries.find(data + key);
    if (entry == entries.end()) damaged(path, "storage ", printable(key), " is missing");
    const size_t item = storage->item_bytes(), size = entry->second.size();
    if (size % item != 0 || size / item != static_cast<uint64_t>(storage->integer))
      damaged(path, "storage ", printable(key), " has ", size, " bytes, its description says ", storage->integer,
              " elements of ", item);
    parts.storages[key] = entry->second;
  }
  for (const auto& [name, content] : entries)
    if (name.starts_with(data) && !named.contains(name.substr(data.size())))
      damaged(path, "zip entry ", printable(name), " is a storage that no tensor names");
  return parts;
}

}  // namespace apotnet
