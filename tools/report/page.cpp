#include "tools/report/page.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "tools/fixed.h"
#include "tools/report/layer_figures.h"
#include "tools/report/style.h"
#include "tools/report/test_figures.h"
#include "tools/terminal.h"

namespace apotnet {
namespace {

using Row = std::vector<std::string>;

constexpr double kMillion = 1e6, kKiB = 1024;

Series curve(const RunReport& report, const std::string& name, size_t run, bool dashed,
             const std::function<double(const EpochMetrics&)>& value) {
  Series series{.name = name, .run = run, .dashed = dashed};
  for (const EpochMetrics& epoch : report.metrics.epochs)
    series.points.emplace_back(static_cast<double>(epoch.run_epoch), value(epoch));
  return series;
}

Series test_points(const RunReport& report, const std::string& name, size_t run, double TestMetrics::*value) {
  Series series{.name = name, .run = run, .dots = true};
  for (const TestMetrics& test : report.metrics.tests)
    series.points.emplace_back(static_cast<double>(test.run_epoch), test.*value);
  return series;
}

// Curves of one quantity: training dashed, validation, and the test split as dots.
Chart compared(const std::vector<RunReport>& runs, const std::string& title, const std::string& unit,
               double EpochMetrics::*train, double EpochMetrics::*validation, double TestMetrics::*test) {
  Chart chart{.title = title, .unit = unit, .series = {}, .stage_ends = {}};
  for (size_t run = 0; run < runs.size(); ++run) {
    const bool alone = runs.size() == 1, held_out = runs[run].run.data.validation > 0;
    const std::string prefix = alone ? "" : runs[run].name + ", ";
    if (alone) chart.series.push_back(curve(runs[run], "training", run, true, [&](const auto& e) { return e.*train; }));
    chart.series.push_back(curve(runs[run], prefix + (held_out ? "validation" : "test"), run, false,
                                 [&](const auto& e) { return e.*validation; }));
    if (alone && !runs[run].metrics.tests.empty())
      chart.series.push_back(test_points(runs[run], "test at a stage's end", run, test));
  }
  return chart;
}

std::vector<double> stage_ends(const RunReport& report) {
  std::vector<double> ends;
  const auto& epochs = report.metrics.epochs;
  for (size_t i = 1; i < epochs.size(); ++i)
    if (epochs[i].stage != epochs[i - 1].stage) ends.push_back(static_cast<double>(epochs[i - 1].run_epoch) + 0.5);
  return ends;
}

double seconds_of(const RunReport& report) {
  const auto& epochs = report.metrics.epochs;
  return std::accumulate(epochs.begin(), epochs.end(), 0.0,
                         [](double sum, const EpochMetrics& epoch) { return sum + epoch.seconds; });
}

std::string bits_of(const StageConfig& stage) {
  return stage.weight_bits == stage.activation_bits ? text(stage.weight_bits)
                                                    : text(stage.weight_bits, "/", stage.activation_bits);
}

// What came out, and what it costs against float.
std::vector<Row> result_rows(const std::vector<RunReport>& runs) {
  std::vector<Row> rows{{"run", "stage", "bits", "epochs", "best validation %", "test top-1 %", "top-5 %",
                         "MAC, million", "FixOPS, million", "KiB", "of float"}};
  for (const RunReport& report : runs)
    for (const StageReport& stage : report.stages) {
      const auto or_dash = [](auto value, int decimals) { return value ? fixed(*value, decimals) : "–"; };
      const auto of_test = [&](double TestMetrics::*value) {
        return stage.test ? std::optional(*stage.test.*value) : std::nullopt;
      };
      const NetworkCost& cost = stage.cost;
      rows.push_back({report.name, stage.config.name, bits_of(stage.config),
                      text(stage.epochs, " of ", stage.config.epochs), or_dash(stage.best_top1, 2),
                      or_dash(of_test(&TestMetrics::test_top1), 2), or_dash(of_test(&TestMetrics::test_top5), 2),
                      fixed(static_cast<double>(cost.macs()) / kMillion, 1),
                      stage.config.weight_bits < 32 ? fixed(cost.fixops() / kMillion, 1) : "–",
                      fixed(cost.bytes() / kKiB, 1), "1/" + fixed(cost.float_bytes() / cost.bytes(), 1)});
    }
  if (runs.size() == 1)
    for (Row& row : rows) row.erase(row.begin());
  return rows;
}

std::string html_table(const std::vector<Row>& rows) {
  std::string out = "<div class=scroll><table>\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    out += "<tr>";
    const std::string tag = i == 0 ? "th" : "td";
    for (const std::string& cell : rows[i]) out += "<" + tag + ">" + escaped(cell) + "</" + tag + ">";
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string summary(const RunReport& report) {
  return text("<p><b>", escaped(report.name), "</b>: ", escaped(report.run.model.name), " on ",
              escaped(report.run.data.name), ", ", escaped(report.run.quant.method), " levels, ",
              report.metrics.epochs.size(), " epochs in ", duration(seconds_of(report)), " of training, ",
              escaped(report.state), "</p>\n");
}

std::string quantizers(const RunReport& report) {
  const std::string cards = layer_cards(report);
  if (cards.empty()) return "";
  std::string out =
      "<h2>What the quantizers did</h2>\n<p class=note>For each quantized layer: the clipping thresholds over the "
      "epochs "
      "(<span style='color:var(--run0)'>weights</span>, in standard deviations, and <span "
      "style='color:var(--run1)'>inputs"
      "</span>; all cards have one scale); how many values take each level in the last epoch, from 0 to the threshold "
      "(heights are square roots of shares; <span class=bad>×</span> marks a level that no value takes); all weights "
      "of "
      "the best epoch: a block for each kernel, outputs from left to right, inputs from top to bottom, "
      "<span style='color:var(--negative)'>below zero</span> and <span "
      "style='color:var(--positive)'>above</span>.</p>\n" +
      cards;
  if (const std::string kernels = labelled_kernels(report); !kernels.empty())
    out +=
        "<h2>Weights as sums of powers of two</h2>\n<p class=note>Every weight is one of these sums, times one factor "
        "for the whole layer: a product with it is shifts and additions.</p>" +
        kernels;
  return out;
}

std::string test_section(const RunReport& report) {
  if (report.checkpoint.empty()) return "";
  std::string out = "<h2>The test split</h2>\n";
  if (!report.test) return out + "<p class=note>Not shown, " + escaped(report.test_missing) + "</p>\n";
  const TestReport& test = *report.test;
  int64_t right = 0;
  for (size_t i = 0; i < test.class_names.size(); ++i) right += test.images(i, i);
  out += text("<p><code>", escaped(report.checkpoint), "</code>: ", right, " of ", test.count, " images right, ",
              fixed(100 * static_cast<double>(right) / static_cast<double>(std::max<int64_t>(test.count, 1)), 2),
              " %.</p>\n<p class=note>Rows: what the images are; columns: what they are taken for.</p>\n",
              confusion_table(test));
  if (!test.mistakes.empty())
    out += "<h3 style='margin-top:1.4rem'>The most confident mistakes</h3>\n" + mistake_pictures(test);
  return out;
}

std::string settings(const RunReport& report) {
  return "<h2>Configuration</h2>\n<pre>" + escaped(report.config) + "</pre>\n" +
         (report.environment.empty() ? "" : "<h2>Environment</h2>\n<pre>" + escaped(report.environment) + "</pre>\n");
}

std::string plain_table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size());
  const auto width_of = [](const std::string& cell) {  // in characters: UTF-8 continues with 10xxxxxx
    return static_cast<size_t>(std::ranges::count_if(cell, [](char c) { return (c & 0xC0) != 0x80; }));
  };
  for (const Row& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string out;
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - width_of(row[i]), ' ');
      out += (i > 0 ? "  " : "") + (i == 0 ? row[i] + space : space + row[i]);
    }
    out += "\n";
  }
  return out;
}

}  // namespace

std::vector<Chart> training_charts(const std::vector<RunReport>& runs) {
  std::vector<Chart> charts{
      compared(runs, "Accuracy", "top-1 %", &EpochMetrics::train_top1, &EpochMetrics::validation_top1,
               &TestMetrics::test_top1),
      compared(runs, "Loss", "", &EpochMetrics::train_loss, &EpochMetrics::validation_loss, &TestMetrics::test_loss),
      {.title = "Learning rate", .unit = "", .series = {}, .stage_ends = {}}};
  for (size_t run = 0; run < runs.size(); ++run)
    charts.back().series.push_back(curve(runs[run], runs.size() == 1 ? "at the end of the epoch" : runs[run].name, run,
                                         false, [](const EpochMetrics& epoch) { return epoch.learning_rate; }));
  if (runs.size() == 1)
    for (Chart& chart : charts) chart.stage_ends = stage_ends(runs[0]);
  return charts;
}

std::string html_page(const std::vector<RunReport>& runs) {
  std::string title;
  for (const RunReport& report : runs) title += (title.empty() ? "" : ", ") + escaped(report.name);
  std::string out =
      "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<meta name=viewport "
      "content='width=device-width, initial-scale=1'>\n<title>" +
      title + "</title>\n<link rel=icon href='data:,'>\n<style>" + kReportStyle + "</style>\n</head>\n<body>\n<h1>" +
      title + "</h1>\n";
  for (const RunReport& report : runs) out += summary(report);
  out += "<h2>Results and cost</h2>\n" + html_table(result_rows(runs)) +
         "<p class=note>The test split is read at the end of a stage, by the epoch that was best on the validation "
         "images. FixOPS: multiplications of 8 by 8 bits that cost as much, for one image (formula F18); KiB: of all "
         "weights at their bits (F19).</p>\n<h2>Training</h2>\n<div class=grid>\n";
  for (const Chart& chart : training_charts(runs)) out += svg(chart);
  out += "</div>\n";
  for (const RunReport& report : runs) {
    if (runs.size() > 1) out += "<h1 style='margin-top:3rem'>" + escaped(report.name) + "</h1>\n";
    out += quantizers(report) + test_section(report) + settings(report);
  }
  return out + "<footer>apotnet " + kVersion + "</footer>\n</body>\n</html>\n";
}

void write_report(const std::vector<RunReport>& runs, const std::string& path) {
  const std::string page = html_page(runs);
  write_file_atomically(path, {std::as_bytes(std::span(page))});
}

std::string text_page(const std::vector<RunReport>& runs, int columns) {
  std::string out = plain_table(result_rows(runs));
  for (const Chart& chart : training_charts(runs)) out += "\n" + plain_text(chart, columns);
  return out;
}

}  // namespace apotnet
