#pragma once

#include <zlib.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace apotnet::test {

/// Little-endian bytes of a number.
template <typename Number>
std::string bytes_of(Number number) {
  std::string result(sizeof number, '\0');
  std::memcpy(result.data(), &number, sizeof number);
  return result;
}

// The pieces of a protocol-2 pickle, written as PyTorch's are.
namespace pickle {

inline const std::string kProto{"\x80\x02", 2};
inline const std::string kStop = ".";
inline std::string unicode(std::string_view s) {
  return "X" + bytes_of(static_cast<uint32_t>(s.size())) + std::string(s);
}
inline std::string integer(int32_t value) { return "J" + bytes_of(value); }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::string& items) { return "(" + items + "t"; }
inline std::string dict(const std::string& items) { return "}(" + items + "u"; }
inline std::string list(const std::string& items) { return "](" + items + "e"; }
inline std::string storage(const std::string& key, int32_t count, const std::string& type = "FloatStorage") {
  return tuple(unicode("storage") + global("torch", type) + unicode(key) + unicode("cpu") + integer(count) + "N") + "Q";
}
/// sizes and strides are the items of tuples: integer(2) + integer(3).
inline std::string tensor(const std::string& storage, int32_t offset, const std::string& sizes,
                          const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple(storage + integer(offset) + tuple(sizes) + tuple(strides) + "\x89" +
               global("collections", "OrderedDict") + ")R") +
         "R";
}
inline std::string document(const std::string& value) { return kProto + value + kStop; }

}  // namespace pickle

/// A checkpoint of one float tensor "w" [2, 3] in storage "0" of 6 elements, and what a test may damage of it.
struct PthParts {
  std::string root = pickle::dict(pickle::unicode("epoch") + pickle::integer(7) + pickle::unicode("state_dict") +
                                  pickle::dict(pickle::unicode("module.w") + good_tensor()));
  std::string data = std::string(reinterpret_cast<const char*>(kValues), sizeof kValues);

  // Legacy stream
  std::string magic = std::string("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 12);
  std::string protocol = "M\xe9\x03";
  std::string system = pickle::dict(pickle::unicode("little_endian") + "\x88");
  std::string keys = pickle::list(pickle::unicode("0"));
  int64_t count = 6;
  std::string trailing;

  // Zip
  std::string folder = "archive/";
  std::string byteorder = "little";
  uint16_t method = 0, flags = 0;
  std::string data_name = "data/0";
  bool wrong_crc = false;

  static constexpr float kValues[6] = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f};
  static std::string good_tensor() {
    using namespace pickle;
    return tensor(storage("0", 6), 0, integer(2) + integer(3), integer(3) + integer(1));
  }
  /// The same file with another tensor in place of "w".
  static PthParts with_tensor(const std::string& tensor) {
    PthParts parts;
    parts.root = pickle::dict(pickle::unicode("state_dict") + pickle::dict(pickle::unicode("w") + tensor));
    return parts;
  }

  std::string legacy() const {
    using pickle::document;
    return document(magic) + document(protocol) + document(system) + document(root) + document(keys) + bytes_of(count) +
           data + trailing;
  }

  std::string zip() const {
    std::string file, directory;
    uint16_t entries = 0;
    const auto add = [&](const std::string& name, const std::string& content) {
      uint32_t crc = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()));
      crc ^= wrong_crc ? 1 : 0;
      const auto size = static_cast<uint32_t>(content.size());
      const std::string common = bytes_of(flags) + bytes_of(method) + bytes_of(uint32_t{0}) + bytes_of(crc) +
                                 bytes_of(size) + bytes_of(size) + bytes_of(static_cast<uint16_t>(name.size())) +
                                 bytes_of(uint16_t{0});
      directory += std::string("PK\x01\x02", 4) + bytes_of(uint16_t{0}) + bytes_of(uint16_t{0}) + common +
                   std::string(10, '\0') + bytes_of(static_cast<uint32_t>(file.size())) + name;
      file += std::string("PK\x03\x04", 4) + bytes_of(uint16_t{0}) + common + name + content;
      ++entries;
    };
    add(folder + "data.pkl", pickle::document(root));
    add(folder + "byteorder", byteorder);
    add(folder + data_name, data);
    add(folder + "version", "3\n");
    const auto at = static_cast<uint32_t>(file.size());
    return file + directory + std::string("PK\x05\x06", 4) + bytes_of(uint32_t{0}) + bytes_of(entries) +
           bytes_of(entries) + bytes_of(static_cast<uint32_t>(directory.size())) + bytes_of(at) +
           bytes_of(uint16_t{0}) + trailing;
  }
};

}  // namespace apotnet::test
