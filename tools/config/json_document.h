#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace apotnet {

/// A JSON value that knows where it stood. Integers and other numbers are kept apart, so that nothing is converted
/// silently.
struct JsonNode {
  enum class Kind { null, boolean, integer, real, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;      ///< of integer and real
  std::string written;  ///< of a real in a document: its digits there; integers beyond 64 bits are reals too
  std::string string;
  std::vector<JsonNode> items;    ///< of array and object
  std::vector<std::string> keys;  ///< of object, one for each item
  std::string origin;             ///< "file:line:column" of the value, "--set", or "default"
  std::vector<std::string> key_origins;

  bool is(Kind wanted) const { return kind == wanted; }
  /// nullptr where the object has no such key (or this is no object).
  const JsonNode* find(std::string_view key) const;
  JsonNode* find(std::string_view key);
  /// Puts or replaces an entry of an object.
  void set(const std::string& key, JsonNode value, const std::string& key_origin);
  void erase(std::string_view key);
  /// As a message shows it: string "0,1", number 3.7, true, a list.
  std::string describe() const;
  /// As JSON on one line.
  std::string dump() const;
};

/// Parses one JSON document strictly: no comments, no key twice, nothing behind it, no zero byte, at most 64 levels
/// deep. `name` stands for the file in positions. Error(configuration): "name:line:column: error: ...".
JsonNode parse_json(std::string_view text, const std::string& name);

}  // namespace apotnet
