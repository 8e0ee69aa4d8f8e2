#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/base/build_info.h"

namespace apotnet::test {

/// Folder of small reference tables that travel with the source.
inline std::filesystem::path golden_folder() { return std::filesystem::path(kSourceFolder) / "tests/golden"; }

/// $APOTNET_DATA/name, or the empty path when the variable is not set or nothing is there.
inline std::filesystem::path data_path(const std::string& name) {
  const char* root = std::getenv("APOTNET_DATA");
  if (!root || !*root) return {};
  const std::filesystem::path path = std::filesystem::path(root) / name;
  return std::filesystem::exists(path) ? path : std::filesystem::path{};
}

/// The authors' checkpoint and its logits lie beside the data sets: $APOTNET_DATA/../golden or $APOTNET_DATA/golden.
inline std::filesystem::path reference_file(const std::string& name) {
  const std::filesystem::path inside = data_path("golden/" + name);
  return inside.empty() ? data_path("../golden/" + name) : inside;
}

}  // namespace apotnet::test

/// Ends a test case that needs data which is not there; CTest reports it as skipped.
#define SKIP_WITHOUT(path)                                                           \
  if ((path).empty()) {                                                              \
    std::printf("skipped: set APOTNET_DATA (see README, \"Data for the tests\")\n"); \
    return;                                                                          \
  }
