// The page about a run, made by the program.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/tools/training/small_run.h"
#include "tools/report/run_report.h"
#include "tools/training/metrics.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

Finished report(const std::string& arguments) {
  return run_program(std::string(APOTNET_BINARY) + " report " + arguments + " --threads 1");
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// One tag of a page, from its '<' to its '>'; the latter may stand inside of quotes too.
size_t end_of_tag(const std::string& page, size_t begin) {
  char quote = 0;
  for (size_t i = begin; i < page.size(); ++i) {
    if (quote != 0)
      quote = page[i] == quote ? 0 : quote;
    else if (page[i] == '"' || page[i] == '\'')
      quote = page[i];
    else if (page[i] == '>')
      return i;
  }
  return page.size();
}

// The first element that is closed in the wrong order or not at all; empty where all is well.
std::string unbalanced(const std::string& page) {
  static const std::vector<std::string> empty{"!doctype", "meta", "link", "br", "img", "li"};
  std::vector<std::string> open;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at)) {
    const size_t end = end_of_tag(page, at);
    const bool closes = page[at + 1] == '/', closed = page[end - 1] == '/';
    const size_t begin = at + (closes ? 2 : 1);
    const std::string name = page.substr(begin, page.find_first_of(" />\n", begin) - begin);
    at = name == "style" && !closes ? page.find("</style>", end) : end;
    if (closed || std::ranges::find(empty, name) != empty.end()) continue;
    if (!closes) {
      open.push_back(name);
      continue;
    }
    if (open.empty() || open.back() != name) return name + " closes " + (open.empty() ? "nothing" : open.back());
    open.pop_back();
  }
  return open.empty() ? "" : open.back() + " stays open";
}

}  // namespace

TEST_CASE("report: train leaves a whole page that needs nothing else") {
  const SmallRuns runs;
  REQUIRE(runs.train("run").exit_code == 0);
  const std::string page = read_text(runs / "run/report.html");
  CHECK(page.starts_with("<!doctype html>"));
  CHECK(unbalanced(page) == "");
  for (const char* part : {"<script", "http:", "https:", "@import", "url("})
    CHECK(page.find(part) == std::string::npos);
  for (const char* part :
       {"Results and cost", "Training", "What the quantizers did", "Weights as sums of powers of two", "The test split",
        "Configuration", "Environment", "prefers-color-scheme: dark", "@media print", "width=device-width"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  CHECK(count_of(page, "<article>") == 20);
  CHECK(count_of(page, "<img class=weights") == 20);
  CHECK(count_of(page, "values per level") == 40);
  CHECK(count_of(page, "<figure class=kernel>") == 8);
  CHECK(page.find("2⁻") != std::string::npos);

  // The numbers of the table are those of the metrics.
  const RunMetrics metrics = read_metrics(runs / "run/metrics.jsonl");
  REQUIRE(metrics.epochs.size() == 3);
  REQUIRE(metrics.tests.size() == 2);
  CHECK(metrics.epochs[2].layers.size() == 20);
  CHECK(metrics.epochs[2].run_epoch == 3);
  char top1[32];
  std::snprintf(top1, sizeof top1, "<td>%.2f</td>", metrics.tests[1].test_top1);
  CHECK(page.find(top1) != std::string::npos);
  // As many pictures as there are mistakes.
  const RunReport read = read_run_report(runs / "run", "");
  REQUIRE(read.test);
  int64_t wrong = read.test->count;
  for (size_t i = 0; i < 10; ++i) wrong -= read.test->images(i, i);
  CHECK(read.test->count == 10);
  CHECK(static_cast<int64_t>(read.test->mistakes.size()) == wrong);
  CHECK(wrong == std::lround(10 - metrics.tests[1].test_top1 / 10));
  CHECK(static_cast<int64_t>(count_of(page, "<small>test image")) == wrong);
  CHECK(std::ranges::is_sorted(read.test->mistakes, std::ranges::greater{}, &Mistake::probability));
}

TEST_CASE("report: several runs side by side, as text, and of a float run") {
  const SmallRuns runs;
  REQUIRE(runs.train("a").exit_code == 0);
  REQUIRE(runs.train("b", "--set 'stages=[{\"name\":\"float\",\"bits\":32,\"epochs\":2,\"lr\":0.05}]'").exit_code == 0);
  std::filesystem::rename(runs / "b", runs / "b<i>");
  const std::string both = runs / "a" + " '" + runs / "b<i>" + "' ";
  const Finished made = report(both + "--json --out " + runs / "both.html");
  REQUIRE(made.exit_code == 0);
  CHECK(nlohmann::json::parse(made.out)["report"] == runs / "both.html");
  const std::string page = read_text(runs / "both.html");
  CHECK(unbalanced(page) == "");
  CHECK(page.find("<i>") == std::string::npos);
  CHECK(page.find("b&lt;i&gt;, validation") != std::string::npos);
  CHECK(count_of(page, "What the quantizers did") == 1);  // the float run has none
  CHECK(count_of(page, "<h2>The test split</h2>") == 2);

  const Finished printed = report(both + "--text");
  CHECK(printed.exit_code == 0);
  CHECK(printed.error.empty());
  for (const char* part : {"\nAccuracy, top-1 %\n", "\nLoss\n", "\nLearning rate\n",
                           "1 a, validation, 2 b<i>, validation", "FixOPS, million", "1/9.5"})
    CHECK_MESSAGE(printed.out.find(part) != std::string::npos, part);
}

TEST_CASE("report: what cannot be reported on") {
  const SmallRuns runs;
  REQUIRE(runs.train("run").exit_code == 0);
  struct Row {
    std::string arguments;
    int exit_code;
    const char* fragment;
  };
  write_text(runs / "plain.txt", "");
  for (const Row& row :
       {Row{"", 64, "RUN is required"}, Row{runs / "none", 66, "is no run folder; expected one that train made"},
        Row{runs / "plain.txt", 66, "is no run folder"},
        Row{runs / "run --out /proc/none/report.html", 74, "/proc/none/report.html"},
        Row{runs / "run --data /nowhere", 66, "neither a folder nor"}}) {
    CAPTURE(row.arguments);
    const Finished refused = report(row.arguments);
    CHECK(refused.exit_code == row.exit_code);
    CHECK(refused.one_line());
    CHECK_MESSAGE(refused.error.find(row.fragment) != std::string::npos, refused.error);
  }
  const std::string lines = read_text(runs / "run/metrics.jsonl");
  // A line that is being written is left out; another that is none is damage.
  write_text(runs / "run/metrics.jsonl", lines + "{\"kind\": \"ep");
  CHECK(read_metrics(runs / "run/metrics.jsonl").epochs.size() == 3);
  for (const std::string wrong :
       {"{\"kind\": \"epoch\"}\n", "[1, 2]\n", "\n", "{\"kind\": \"epoch\", \"stage\": 3}\n"}) {
    write_text(runs / "run/metrics.jsonl", lines + wrong);
    const Finished refused = report(runs / "run");
    CHECK(refused.exit_code == 65);
    CHECK_MESSAGE(refused.error.find("metrics.jsonl:6: is not a line of metrics") != std::string::npos, refused.error);
  }
  // A state that is no word is an unknown one.
  write_text(runs / "run/metrics.jsonl", lines);
  write_text(runs / "run/status.json", "{\"state\": 5}");
  CHECK(read_run_report(runs / "run", "").state == "unknown");
  // Histograms that do not fit the levels are left out, and a run without a checkpoint is still reported.
  std::string cut = std::regex_replace(lines, std::regex("\"weight_occupancy\":\\[[0-9]+,"), "\"weight_occupancy\":[");
  write_text(runs / "run/metrics.jsonl", cut);
  std::filesystem::remove_all(runs / "run/checkpoints");
  CHECK(report(runs / "run").exit_code == 0);
  const std::string page = read_text(runs / "run/report.html");
  CHECK(unbalanced(page) == "");
  CHECK(count_of(page, "values per level") == 20);
  CHECK(count_of(page, "<img") == 0);
}

TEST_CASE("report: the test split of a stage that has not ended is not read") {
  const SmallRuns runs;
  REQUIRE(runs.train("run").exit_code == 0);
  std::string lines = read_text(runs / "run/metrics.jsonl");
  lines.resize(lines.rfind("{\"kind\":\"test\""));
  write_text(runs / "run/metrics.jsonl", lines);
  REQUIRE(report(runs / "run").exit_code == 0);
  const std::string page = read_text(runs / "run/report.html");
  CHECK(page.find("Not shown, the stage has not ended") != std::string::npos);
  CHECK(page.find("taken for") == std::string::npos);
  CHECK(!read_run_report(runs / "run", "").test);
}

TEST_CASE("report: a run whose data are gone says so and shows the rest") {
  const SmallRuns runs;
  REQUIRE(runs.train("run").exit_code == 0);
  std::string config = read_text(runs / "run/config.json");
  config = std::regex_replace(config, std::regex("shapes10"), "cifar10");
  config = std::regex_replace(config, std::regex("\"root\": \"\""), "\"root\": \"/nowhere\"");
  write_text(runs / "run/config.json", config);
  const Finished made = report(runs / "run");
  CHECK_MESSAGE(made.exit_code == 0, made.error);
  const std::string page = read_text(runs / "run/report.html");
  CHECK(page.find("Not shown, the data are not there: cifar10: no test_batch.bin in /nowhere") != std::string::npos);
  CHECK(count_of(page, "<article>") == 20);
}
