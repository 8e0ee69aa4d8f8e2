#include "tools/report/chart.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

using namespace apotnet;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

Chart example() {
  return {.title = "Loss <of> training",
          .unit = "nats",
          .series = {{.name = "training", .dashed = true, .points = {{1, 2.0}, {2, kNan}, {3, 0.5}}},
                     {.name = "a \"name\"", .points = {{1, 1.5}, {2, 1.0}, {3, 0.75}}}},
          .stage_ends = {2.5}};
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("chart: ticks are round and surround the values") {
  CHECK(ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(ticks(0.1, 0.9, 4) == std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1});
  for (const auto& [low, high] :
       {std::pair{-3.7, 12.2}, {1e-7, 3e-7}, {99.2, 99.3}, {5.0, 5.0}, {0.0, 0.0}, {-2e9, 1e9}}) {
    CAPTURE(low);
    const std::vector<double> found = ticks(low, high, 5);
    CHECK(found.size() >= 2);
    CHECK(found.size() <= 8);
    CHECK(found.front() <= low);
    CHECK(found.back() >= high * (1 - 1e-12));
    CHECK(std::ranges::is_sorted(found));
  }
}

TEST_CASE("chart: svg has a path for each series, leaves out what is not finite and escapes names") {
  const std::string drawn = svg(example());
  CHECK(count_of(drawn, "<g class='line run0'") == 2);  // one in the legend, one in the drawing
  CHECK(count_of(drawn, "<g class='line run0 dashed'") == 2);
  CHECK(count_of(drawn, "class=stage") == 1);
  CHECK(drawn.find("nan") == std::string::npos);
  CHECK(drawn.find("Loss &lt;of&gt; training, nats") != std::string::npos);
  CHECK(drawn.find("a &quot;name&quot;") != std::string::npos);
  // The training curve goes from its first to its last point, high to low.
  const size_t training = drawn.rfind("<g class='line run0 dashed'");
  CHECK(count_of(drawn.substr(training, drawn.find("</path>", training) - training), "L") == 1);
}

TEST_CASE("chart: without points it says so") {
  const Chart nothing{.title = "Loss", .unit = "", .series = {{.name = "training"}}, .stage_ends = {}};
  CHECK(svg(nothing).find("nothing yet") != std::string::npos);
  CHECK(plain_text(nothing, 80).find("nothing yet") != std::string::npos);
}

TEST_CASE("chart: as text the marks stand where the values are, within the width") {
  for (const int columns : {40, 80, 132}) {
    std::istringstream lines(plain_text(example(), columns));
    std::vector<std::string> rows;
    for (std::string line; std::getline(lines, line);) {
      CHECK(line.size() <= static_cast<size_t>(columns));
      rows.push_back(line);
    }
    REQUIRE(rows.size() == 1 + 14 + 3);
    CHECK(rows[1] == "     2.0 |.");  // the highest value, in the first epoch
    CHECK(rows[14].back() == '.');    // the lowest, in the last
    CHECK(rows[14].substr(0, 10) == "     0.5 |");
    const size_t middle = static_cast<size_t>(10 + std::lround((columns - 12) / 2.0));
    CHECK(std::ranges::count_if(
              rows, [&](const std::string& row) { return row.size() > middle && row[middle] == '#'; }) == 1);
    CHECK(rows.back() == "          . training, # a \"name\"");
  }
}
