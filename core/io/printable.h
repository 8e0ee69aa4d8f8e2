#pragma once

#include <string>
#include <string_view>

namespace apotnet {

/// Text of a file as it may stand in a one-line message: in quotes, at most 80 bytes of it, control characters and
/// bytes beyond ASCII as \xNN.
std::string printable(std::string_view text);

/// Whether the bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace apotnet
