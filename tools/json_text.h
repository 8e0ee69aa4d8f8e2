#pragma once

#include <string>

namespace apotnet {

/// JSON on one line, or with so many spaces per level. A NaN becomes null and what is not UTF-8 is replaced: names of
/// files may be any bytes, and every text stays valid JSON.
template <typename Json>
std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace apotnet
