#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace apotnet {

/// One line about a command line that does not hold: what is wrong with it, the nearest command or option where a word
/// is mistyped, and which help to read. `words` is the command line without the program.
std::string usage_message(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& words);

}  // namespace apotnet
