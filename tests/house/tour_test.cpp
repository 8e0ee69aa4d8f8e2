// docs/how-qat-works.md shows code and output; both must be what the reader finds.
#include <doctest/doctest.h>

#include <regex>
#include <span>
#include <sstream>

#include "tests/house/sources.h"
#include "tests/support/run_program.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::string source_text(const std::string& path) { return read_text(std::string(kSourceFolder) + "/" + path); }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// A fenced block of the document, and the text before it.
struct Block {
  std::string kind, before;
  std::vector<std::string> lines;
};

std::vector<Block> blocks_of(const std::string& document) {
  std::vector<Block> blocks;
  std::string before;
  bool inside = false;
  for (const std::string& line : lines_of(document)) {
    if (line.starts_with("```")) {
      if (!inside) blocks.push_back({line.substr(3), before, {}});
      inside = !inside;
    } else if (inside) {
      blocks.back().lines.push_back(line);
    } else {
      before += line + "\n";
    }
  }
  return blocks;
}

const std::regex kSourcePath("`((?:core|layers|models|deploy|optim|data|tools|tests)/[a-z0-9_/]+\\.(?:h|cpp))`");

std::string last_path(const std::string& text) {
  std::string path;
  for (std::sregex_iterator i(text.begin(), text.end(), kSourcePath), end; i != end; ++i) path = (*i)[1];
  return path;
}

// Whether `shown` is `lines`, where "..." stands for any number of them.
bool matches(std::span<const std::string> shown, std::span<const std::string> lines) {
  if (shown.empty()) return lines.empty();
  if (shown.front() != "...")
    return !lines.empty() && shown.front() == lines.front() && matches(shown.subspan(1), lines.subspan(1));
  for (size_t skip = 0; skip <= lines.size(); ++skip)
    if (matches(shown.subspan(1), lines.subspan(skip))) return true;
  return false;
}

}  // namespace

TEST_CASE("the tour shows lines of the files that it names") {
  int checked = 0;
  for (const Block& block : blocks_of(source_text("docs/how-qat-works.md"))) {
    if (block.kind != "cpp") continue;
    const std::string path = last_path(block.before), code = "\n" + source_text(path);
    for (const std::string& line : block.lines) {
      CHECK_MESSAGE((line == "..." || code.find("\n" + line + "\n") != std::string::npos), path,
                    " has no line: ", line);
      ++checked;
    }
  }
  CHECK(checked > 10);
}

TEST_CASE("the functions that the tour names are in the files it names") {
  const std::string tour = source_text("docs/how-qat-works.md");
  static const std::regex citation(
      "`([A-Za-z_:0-9]+)`[^`]{0,12}`((?:core|layers|models|deploy|optim|data|tools)/[^`]+)`");
  int checked = 0;
  for (std::sregex_iterator i(tour.begin(), tour.end(), citation), end; i != end; ++i, ++checked) {
    const std::string name = (*i)[1], path = (*i)[2];
    CHECK_MESSAGE(source_text(path).find(name) != std::string::npos, name, " is not in ", path);
  }
  CHECK(checked > 12);
}

TEST_CASE("the tour prints what the program prints") {
  int checked = 0;
  for (const Block& block : blocks_of(source_text("docs/how-qat-works.md"))) {
    if (block.kind != "console") continue;
    REQUIRE(!block.lines.empty());
    REQUIRE(block.lines[0].starts_with("$ ./apotnet "));
    const Finished finished = run_program(std::string(APOTNET_BINARY) + block.lines[0].substr(11));
    CHECK(finished.exit_code == 0);
    CHECK_MESSAGE(matches(std::span(block.lines).subspan(1), lines_of(finished.out)), block.lines[0], " prints:\n",
                  finished.out);
    ++checked;
  }
  CHECK(checked >= 3);
}
