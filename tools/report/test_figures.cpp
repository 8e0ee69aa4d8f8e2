#include "tools/report/test_figures.h"

#include <algorithm>
#include <tuple>

#include "core/base/error.h"
#include "tools/fixed.h"
#include "tools/report/chart.h"
#include "tools/report/png.h"

namespace apotnet {
namespace {

constexpr size_t kMostClassesOfTable = 20, kMostPairs = 25;

std::string whole_table(const TestReport& test) {
  const size_t classes = test.class_names.size();
  std::string out = "<div class=scroll><table class=confusion><thead><tr><th></th>";
  for (const std::string& name : test.class_names) out += "<th>" + escaped(name) + "</th>";
  out += "</tr></thead>\n";
  for (size_t truth = 0; truth < classes; ++truth) {
    int64_t most = 1;  // the most frequent mistake of a class is its darkest
    for (size_t guess = 0; guess < classes; ++guess)
      if (guess != truth) most = std::max(most, test.images(truth, guess));
    out += "<tr><th>" + escaped(test.class_names[truth]) + "</th>";
    for (size_t guess = 0; guess < classes; ++guess) {
      const int64_t count = test.images(truth, guess);
      const double shade = 0.6 * static_cast<double>(count) / static_cast<double>(most);
      const std::string look = guess == truth ? " class=right"
                               : count > 0    ? " style='background:rgba(214,95,30," + fixed(shade, 2) + ")'"
                                              : "";
      out += text("<td", look, ">", count > 0 ? text(count) : "", "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string frequent_pairs(const TestReport& test) {
  std::vector<std::tuple<int64_t, size_t, size_t>> pairs;
  const size_t classes = test.class_names.size();
  for (size_t truth = 0; truth < classes; ++truth)
    for (size_t guess = 0; guess < classes; ++guess)
      if (guess != truth && test.images(truth, guess) > 0) pairs.emplace_back(test.images(truth, guess), truth, guess);
  std::ranges::stable_sort(pairs, [](const auto& a, const auto& b) { return std::get<0>(a) > std::get<0>(b); });
  pairs.resize(std::min(pairs.size(), kMostPairs));
  std::string out = "<div class=scroll><table><tr><th>is</th><th>taken for</th><th>images</th></tr>\n";
  for (const auto& [count, truth, guess] : pairs)
    out += text("<tr><td>", escaped(test.class_names[truth]), "</td><td>", escaped(test.class_names[guess]),
                "</td><td>", count, "</td></tr>\n");
  return out + "</table></div>\n";
}

}  // namespace

std::string confusion_table(const TestReport& test) {
  return test.class_names.size() <= kMostClassesOfTable ? whole_table(test) : frequent_pairs(test);
}

std::string mistake_pictures(const TestReport& test) {
  if (test.channels != 3) return "";
  std::string out = "<div class=pictures>\n";
  for (const Mistake& mistake : test.mistakes) {
    const std::string truth = escaped(test.class_names[static_cast<size_t>(mistake.truth)]),
                      guess = escaped(test.class_names[static_cast<size_t>(mistake.guess)]);
    out += text("<figure><img width=", test.width, " height=", test.height, " loading=lazy alt='a ", truth, "' src='",
                data_uri_of_png(png_of_rgb(test.height, test.width, mistake.pixels)), "'><figcaption><b>", guess,
                "</b> ", fixed(100 * mistake.probability, 1), " %<br>is ", truth, "<br><small>test image ",
                mistake.index, "</small></figcaption></figure>\n");
  }
  return out + "</div>\n";
}

}  // namespace apotnet
