// The house's rule on includes (README, "The house"), checked on every source file.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <iterator>
#include <map>
#include <regex>
#include <utility>
#include <vector>

#include "tests/house/sources.h"

using namespace apotnet::test;

namespace {

using Folders = std::vector<std::string>;

// Which folders a folder may include, its own aside. The longest prefix of a file's path decides.
const std::map<std::string, Folders>& rule() {
  static const Folders contract{"core/kernels", "core/quant", "core/tensor", "core/base"};
  static const Folders operations{"core/ops",   "core/autograd", "core/kernels",
                                  "core/quant", "core/tensor",   "core/base"};
  static const Folders engine{"core/ops",    "core/autograd", "core/kernels", "core/quant",
                              "core/tensor", "core/io",       "core/base"};
  static const auto with = [](Folders folders, const Folders& more) {
    folders.insert(folders.end(), more.begin(), more.end());
    return folders;
  };
  static const std::map<std::string, Folders> table{
      {"core/base", {}},
      {"core/tensor", {"core/base"}},
      {"core/quant", {"core/tensor", "core/base"}},
      {"core/kernels", {"core/quant", "core/tensor", "core/base"}},
      {"core/kernels/reference", contract},
      {"core/kernels/cpu", with(contract, {"core/kernels/reference", "core/kernels/cpu/codes"})},
      // Integer convolutions and what follows them, for images one by one: used by the back end and by deploy.
      {"core/kernels/cpu/codes", contract},
      {"core/kernels/cuda", contract},
      {"core/autograd", contract},
      {"core/ops", operations},
      {"core/io", {"core/tensor", "core/base"}},
      {"layers", engine},
      {"models", with(engine, {"layers"})},
      {"deploy", with(engine, {"layers", "models", "core/kernels/cpu/codes"})},
      {"optim", {"core/autograd", "core/kernels", "core/quant", "core/tensor", "core/base"}},
      {"data", {"core/tensor", "core/io", "core/base"}},
      // doctor says which kernels this processor gets, and what of CUDA is there.
      {"tools", with(engine, {"layers", "models", "deploy", "optim", "data", "core/kernels/cpu",
                              "core/kernels/cpu/codes", "core/kernels/cuda"})},
  };
  return table;
}

// The folder of the table that a path lies in; empty if none.
std::string room_of(const std::string& path) {
  std::string best;
  for (const auto& [folder, allowed] : rule())
    if (path.starts_with(folder + "/") && folder.size() > best.size()) best = folder;
  return best;
}

// What is wrong with `file` including "included"; empty if nothing.
std::string objection(const std::string& file, const std::string& included) {
  if (included.find("..") != std::string::npos || room_of(included).empty())
    return file + ": \"" + included + "\" is not written from the root";
  const std::string from = room_of(file), to = room_of(included);
  if (from.empty()) return file + ": its folder has no line in the rule of this test";
  const Folders& allowed = rule().at(from);
  if (from == to || std::ranges::find(allowed, to) != allowed.end()) return "";
  return file + ": " + from + " may not include " + to + " (" + included + ")";
}

using Includes = std::map<std::string, std::vector<std::string>>;

// What is left after taking away, again and again, every file that includes none of the rest: circles and who includes
// them. Empty if there is no circle.
Includes circles(Includes files) {
  for (size_t before = 0; before != files.size();) {
    before = files.size();
    for (auto file = files.begin(); file != files.end();) {
      const bool bound = std::ranges::any_of(file->second, [&](const auto& name) { return files.contains(name); });
      file = bound ? std::next(file) : files.erase(file);
    }
  }
  return files;
}

}  // namespace

TEST_CASE("includes go one way through the rooms") {
  size_t checked = 0;
  static const std::regex in_angles("#[ \t]*include[ \t]*<(core|layers|models|deploy|optim|data|tools|tests)/");
  for (const Source& source : sources(kRooms)) {
    CHECK_MESSAGE(!std::regex_search(source.text, in_angles), source.path, ": own files are included with quotes");
    for (const std::string& included : own_includes(source)) {
      const std::string wrong = objection(source.path, included);
      CHECK_MESSAGE(wrong.empty(), wrong);
      ++checked;
    }
  }
  CHECK(checked > 100);
}

TEST_CASE("no files include each other in a circle") {
  Includes files;
  for (const Source& source : sources(kRooms)) files[source.path] = own_includes(source);
  CHECK(files.size() > 100);
  for (const auto& [file, included] : circles(files)) CHECK_MESSAGE(false, file, " is in a circle or includes one");

  CHECK(circles({{"a", {"b", "c"}}, {"b", {"c", "elsewhere"}}, {"c", {}}}).empty());
  CHECK(circles({{"a", {"a"}}, {"b", {}}}).size() == 1);
  CHECK(circles({{"a", {"b"}}, {"b", {"c"}}, {"c", {"a"}}, {"d", {}}}).size() == 3);
}

TEST_CASE("the include rule catches what goes against it") {
  CHECK(objection("core/ops/x.cpp", "core/kernels/call.h").empty());
  CHECK(objection("core/kernels/cpu/x.cpp", "core/kernels/reference/reference.h").empty());
  for (const auto& [file, included] : {std::pair{"core/ops/x.cpp", "core/kernels/cpu/cpu.h"},
                                       {"core/ops/x.cpp", "core/kernels/reference/reference.h"},
                                       {"core/tensor/x.h", "core/kernels/kernels.h"},
                                       {"core/kernels/reference/x.cpp", "core/kernels/cpu/loops.h"},
                                       {"layers/x.cpp", "models/registry.h"},
                                       {"data/x.cpp", "core/autograd/variable.h"},
                                       {"optim/x.cpp", "layers/module.h"},
                                       {"models/x.cpp", "tools/config/config.h"},
                                       {"layers/x.cpp", "core/kernels/cpu/cpu.h"},
                                       {"models/x.cpp", "deploy/engine.h"},
                                       {"core/new_folder/x.cpp", "core/base/error.h"},
                                       {"core/ops/x.cpp", "../x.h"},
                                       {"core/ops/x.cpp", "conv2d.h"}})
    CHECK_MESSAGE(!objection(file, included).empty(), file, " -> ", included);
}

TEST_CASE("every header is guarded, no source is over 500 lines") {
  std::vector<std::string> folders = kRooms;
  folders.push_back("tests");
  std::vector<std::pair<std::ptrdiff_t, std::string>> lengths;
  for (const Source& source : sources(folders)) {
    const bool repeated = source.path.ends_with("loops_body.h");  // included once per instruction set, and says so
    if (source.path.ends_with(".h") && !repeated)
      CHECK_MESSAGE(source.text.find("#pragma once") != std::string::npos, source.path);
    lengths.emplace_back(std::ranges::count(source.text, '\n'), source.path);
    CHECK_MESSAGE(lengths.back().first <= 500, source.path);
  }
  std::ranges::sort(lengths, std::greater{});
  std::printf("%zu files; the longest:\n", lengths.size());
  for (size_t i = 0; i < 5; ++i) std::printf("%5td %s\n", lengths[i].first, lengths[i].second.c_str());
}
