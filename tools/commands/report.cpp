#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "tools/commands/command.h"
#include "tools/report/page.h"
#include "tools/terminal.h"

namespace apotnet {
namespace {

struct ReportOptions {
  std::vector<std::string> runs;
  std::string out, data;
  bool as_text = false;
};

void run_report(const ReportOptions& options, const CommandContext& context) {
  apply_compute_options(context.options);
  std::vector<RunReport> runs;
  for (const std::string& folder : options.runs) runs.push_back(read_run_report(folder, options.data));
  if (options.as_text && context.options.json)
    fail(ErrorCategory::usage, "--text is for reading; the numbers as JSON are in metrics.jsonl of a run");
  if (options.as_text) {
    std::cout << text_page(runs, stdout_columns());
    return;
  }
  std::string path = options.out;
  if (path.empty())
    path = runs.size() == 1 ? (std::filesystem::path(runs[0].folder) / "report.html").string() : "report.html";
  write_report(runs, path);
  if (context.options.json)
    print_json({{"command", "report"}, {"runs", options.runs}, {"report", path}});
  else
    std::cout << "report " << path << "\n";
}

}  // namespace

void add_report(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "One HTML page about a run, or about several side by side");
  command->add_option("RUN", options->runs, "Run folders")->required();
  CLI::Option* out = command->add_option(
      "--out", options->out, "File to write (default: report.html in the run folder; of several runs, here)");
  command->add_flag("--text", options->as_text, "Print results and curves as text instead")->excludes(out);
  command->add_option("--data", options->data, "Test split to show mistakes of, when it is not where the run had it");
  add_compute_options(*command, context);
  command->footer("Example: ./apotnet report runs/resnet20_cifar_4bit runs/resnet20_cifar_4bit_uniform");
  command->callback([options, &context] { run_report(*options, context); });
}

}  // namespace apotnet
