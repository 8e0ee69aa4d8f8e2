#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "core/tensor/dtype.h"
#include "core/tensor/shape.h"

namespace apotnet {

/// One tensor as a safetensors header describes it, checked: its bytes are what shape and type need and lie in the
/// data.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::f32;
  bool half = false;  ///< F16 in the file, f32 in memory
  Shape shape;
  uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::deque<SafetensorsEntry> entries;  ///< in the order of the header
  std::map<std::string, std::string> metadata;
};

/// Parses and checks the JSON header of a file with `data_bytes` of data. Error(damaged_data).
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes, const std::string& path);

/// Parses a JSON object of strings; Error(damaged_data) starting with `path` and `what`.
std::map<std::string, std::string> parse_string_map(std::string_view json, const std::string& path, const char* what);

/// "F32" and so on.
std::string_view safetensors_name(DType dtype);

}  // namespace apotnet
