// docs/formulas.md and the code cite each other; neither may point to what is not there.
#include <doctest/doctest.h>

#include <filesystem>
#include <regex>
#include <set>

#include "tests/house/sources.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::set<int> numbers(const std::string& text, const std::regex& pattern) {
  std::set<int> found;
  for (std::sregex_iterator i(text.begin(), text.end(), pattern), end; i != end; ++i) found.insert(std::stoi((*i)[1]));
  return found;
}

std::string formulas() { return read_text(std::string(kSourceFolder) + "/docs/formulas.md"); }

}  // namespace

TEST_CASE("every formula that the code cites is in docs/formulas.md, and the other way round") {
  const std::set<int> defined = numbers(formulas(), std::regex("\n## F([0-9]+) "));
  CHECK(defined.size() >= 14);
  std::set<int> cited;
  for (const Source& source : sources(kRooms))
    if (!source.path.starts_with("core/io"))  // there F16, F32 and F64 are types of a file format
      cited.merge(numbers(source.text, std::regex("\\bF([0-9]+)\\b")));
  // A formula marked as planned stands there before its code, and loses the mark with the first citation.
  const std::set<int> planned = numbers(formulas(), std::regex("\n## F([0-9]+) [^\n]*\\(planned\\)"));
  for (const int number : cited) CHECK_MESSAGE(defined.contains(number), "F", number, " is cited and not defined");
  for (const int number : defined) {
    if (planned.contains(number))
      CHECK_MESSAGE(!cited.contains(number), "F", number, " is cited: take (planned) away");
    else
      CHECK_MESSAGE(cited.contains(number), "F", number, " is defined and never cited");
  }
}

TEST_CASE("every file that the documents name exists") {
  static const std::regex path(
      "`((?:core|layers|models|deploy|optim|data|tools|tests|configs|docs|third_party)/[A-Za-z0-9_./-]+)`");
  for (const char* name : {"README.md", "docs/formulas.md", "docs/configuration.md", "docs/how-qat-works.md",
                           "docs/reproducing.md", "docs/cuda.md"}) {
    const std::string text = read_text(std::string(kSourceFolder) + "/" + name);
    CHECK(!text.empty());
    for (std::sregex_iterator i(text.begin(), text.end(), path), end; i != end; ++i)
      CHECK_MESSAGE(std::filesystem::exists(std::filesystem::path(kSourceFolder) / (*i)[1].str()), name, ": ",
                    (*i)[1].str());
  }
}
