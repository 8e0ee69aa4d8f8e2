#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace apotnet {

/// Letters to insert, remove or replace to make one word of the other.
size_t edit_distance(const std::string& a, const std::string& b);

/// The known word nearest to a mistyped one, or empty when none is near.
std::string nearest_word(const std::string& word, std::span<const std::string> known);

/// "; did you mean WORD?", or nothing for no word: how messages end.
std::string did_you_mean(const std::string& word);

}  // namespace apotnet
