#include "core/io/printable.h"

#include <cstdint>
#include <cstdio>

namespace apotnet {

std::string printable(std::string_view text) {
  constexpr size_t kMost = 80;
  std::string result = "\"";
  for (const char c : text.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      result += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(byte));
      result += escape;
    }
  }
  return result + (text.size() > kMost ? "...\"" : "\"");
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t count = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (count == 0 || count > text.size() - i) return false;
    uint32_t code = count == 1 ? lead : lead & (0x7Fu >> count);
    for (size_t k = 1; k < count; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      if (next >> 6 != 2) return false;
      code = code << 6 | (next & 0x3Fu);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[count] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    i += count;
  }
  return true;
}

}  // namespace apotnet
