#pragma once

#include <zlib.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

// Writes PyTorch checkpoints piece by piece, so that tests can get any piece wrong.
namespace apotnet::test {

/// The bytes of a number, lowest first.
template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// Not operator+: g++ 12 warns of it wrongly after a literal.
template <typename... Parts>
std::string join(const Parts&... parts) {
  std::string result;
  (result.append(parts), ...);
  return result;
}

namespace pickle {

inline std::string text(const std::string& content) {
  return join("X", raw(static_cast<uint32_t>(content.size())), content);
}
inline std::string integer(int64_t value) {
  if (value == static_cast<int32_t>(value)) return join("J", raw(static_cast<int32_t>(value)));
  return join("\x8a\x08", raw(value));
}
inline std::string real(double value) { return join("G", raw(__builtin_bswap64(std::bit_cast<uint64_t>(value)))); }
inline std::string global(const std::string& module, const std::string& name) {
  return join("c", module, "\n", name, "\n");
}
inline std::string tuple(const std::string& items) { return join("(", items, "t"); }
inline std::string list(const std::string& items) { return join("](", items, "e"); }
inline std::string dict(const std::string& keys_and_values) { return join("}(", keys_and_values, "u"); }
inline std::string integers(const std::vector<int64_t>& values) {
  std::string items;
  for (const int64_t value : values) items += integer(value);
  return tuple(items);
}
inline std::string ordered_dict(const std::string& keys_and_values = "") {
  const std::string empty = global("collections", "OrderedDict") + ")R";
  return keys_and_values.empty() ? empty : empty + "(" + keys_and_values + "u";
}
inline std::string storage(const std::string& key, const std::string& type, int64_t count) {
  return tuple(text("storage") + global("torch", type) + text(key) + text("cpu") + integer(count)) + "Q";
}
inline std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& sizes,
                          const std::vector<int64_t>& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple(storage + integer(offset) + integers(sizes) + integers(strides) + "\x89" + ordered_dict()) + "R";
}
inline std::string whole(const std::string& value) { return join("\x80\x02", value, "."); }

}  // namespace pickle

struct StorageBytes {
  std::string key;
  int64_t count;
  std::string content;
};

struct LegacyFile {
  std::string magic = std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
  std::string protocol = pickle::integer(1001);
  std::string system = pickle::dict(pickle::text("little_endian") + "\x88");
  std::string root;
  std::vector<StorageBytes> storages;

  std::string bytes() const {
    std::string keys, data;
    for (const StorageBytes& storage : storages) {
      keys += pickle::text(storage.key);
      data += raw(storage.count) + storage.content;
    }
    return pickle::whole(magic) + pickle::whole(protocol) + pickle::whole(system) + pickle::whole(root) +
           pickle::whole(pickle::list(keys)) + data;
  }
};

struct ZipEntry {
  std::string name, content;
  uint16_t flags = 0, method = 0;
  bool descriptor = false;
  uint32_t crc_error = 0;   ///< added to the right CRC-32
  uint32_t size_error = 0;  ///< added to both sizes in the directory
  int32_t position_error = 0;
  std::string local_name{};  ///< when not the same
};

struct ZipFile {
  std::vector<ZipEntry> entries;
  bool zip64 = false;
  uint16_t count_error = 0;
  uint32_t directory_position_error = 0;
  uint64_t zip64_size_error = 0;
  std::string between{}, behind{};  ///< before the directory, behind the end

  std::string bytes() const {
    std::string file, directory;
    for (const ZipEntry& entry : entries) {
      const auto crc =
          entry.crc_error +
          static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(entry.content.data()), entry.content.size()));
      const auto position = static_cast<uint32_t>(static_cast<int32_t>(file.size()) + entry.position_error);
      const auto size = static_cast<uint32_t>(entry.content.size());
      const auto flags = static_cast<uint16_t>(entry.flags | (entry.descriptor ? 8 : 0));
      const std::string& local = entry.local_name.empty() ? entry.name : entry.local_name;
      const std::string kind = raw(flags) + raw(entry.method) + raw(uint32_t{0});
      const std::string known = raw(crc) + raw(size) + raw(size);
      file += join("PK\x03\x04") + raw(uint16_t{20}) + kind + (entry.descriptor ? std::string(12, '\0') : known) +
              raw(static_cast<uint16_t>(local.size())) + raw(uint16_t{0}) + local + entry.content;
      if (entry.descriptor) file += join("PK\x07\x08") + known;
      directory += join("PK\x01\x02") + raw(uint16_t{20}) + raw(uint16_t{20}) + kind + raw(crc) +
                   raw(size + entry.size_error) + raw(size + entry.size_error) +
                   raw(static_cast<uint16_t>(entry.name.size())) + std::string(12, '\0') + raw(position) + entry.name;
    }
    file += between;
    const uint64_t start = file.size(), count = entries.size() + count_error;
    const uint64_t position = start + directory_position_error;
    file += directory;
    if (zip64) {
      const uint64_t record = file.size();
      file += join("PK\x06\x06") + raw(uint64_t{44}) + raw(uint16_t{45}) + raw(uint16_t{45}) + raw(uint64_t{0}) +
              raw(count) + raw(count) + raw(directory.size() + zip64_size_error) + raw(position);
      file += join("PK\x06\x07") + raw(uint32_t{0}) + raw(record) + raw(uint32_t{1});
    }
    const auto narrow = static_cast<uint16_t>(count);
    return file + join("PK\x05\x06") + raw(uint32_t{0}) + raw(narrow) + raw(narrow) +
           raw(static_cast<uint32_t>(directory.size())) + raw(static_cast<uint32_t>(position)) + raw(uint16_t{0}) +
           behind;
  }
};

/// The entries of a checkpoint as PyTorch names them.
inline ZipFile pth_zip(const std::string& root, const std::vector<StorageBytes>& storages) {
  ZipFile file;
  file.entries = {{"archive/data.pkl", pickle::whole(root)}, {"archive/byteorder", "little"}};
  for (const StorageBytes& storage : storages) file.entries.push_back({"archive/data/" + storage.key, storage.content});
  file.entries.push_back({"archive/version", "3\n"});
  return file;
}

}  // namespace apotnet::test
