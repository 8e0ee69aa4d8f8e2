#pragma once

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "core/base/build_info.h"
#include "tests/support/run_program.h"

namespace apotnet::test {

/// The folders that hold the program; one that is not there yet holds no files.
inline const std::vector<std::string> kRooms{"core", "layers", "models", "deploy", "optim", "data", "tools"};

/// A source file: its path from the root, and its text.
struct Source {
  std::string path, text;
};

/// Every .h, .cpp and .cu below the folders.
inline std::vector<Source> sources(const std::vector<std::string>& folders) {
  namespace fs = std::filesystem;
  std::vector<Source> found;
  for (const std::string& folder : folders) {
    if (!fs::exists(fs::path(kSourceFolder) / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(kSourceFolder) / folder))
      if (const auto kind = entry.path().extension(); kind == ".h" || kind == ".cpp" || kind == ".cu")
        found.push_back({fs::relative(entry.path(), kSourceFolder).string(), read_text(entry.path().string())});
  }
  return found;
}

/// What a file includes with quotes: files of the project.
inline std::vector<std::string> own_includes(const Source& source) {
  static const std::regex pattern("(^|\n)[ \t]*#[ \t]*include[ \t]*\"([^\"]+)\"");
  std::vector<std::string> names;
  for (std::sregex_iterator i(source.text.begin(), source.text.end(), pattern), end; i != end; ++i)
    names.push_back((*i)[2]);
  return names;
}

}  // namespace apotnet::test
