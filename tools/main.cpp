#include <CLI/CLI.hpp>
#include <csignal>
#include <exception>
#include <iostream>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "core/base/isa.h"
#include "tools/commands/command.h"
#include "tools/commands/usage.h"
#include "tools/terminal.h"

namespace {

int report(const std::string& message, int code, const std::string& color) {
  std::cerr << apotnet::stderr_terminal(color).red("apotnet: error: ") << message << std::endl;
  return code;
}

int run(int argc, char** argv, apotnet::CommandContext& context) {
  using namespace apotnet;
  CLI::App app("Quantized convolutional networks with additive powers-of-two levels: training and evaluation.",
               "apotnet");
  app.set_version_flag("--version", kVersion);
  app.add_flag("--json", context.options.json, "One JSON object per result on stdout, everything else on stderr");
  app.add_flag("--quiet", context.options.quiet, "No progress on stderr");
  app.add_option("--color", context.options.color,
                 "auto (default: a terminal, unless NO_COLOR is set), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  app.require_subcommand(1);
  app.fallthrough();
  for (const auto add : {add_train, add_eval, add_infer, add_inspect, add_convert, add_levels, add_report, add_data,
                         add_config, add_bench, add_test, add_doctor, add_version})
    add(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report(usage_message(app, error, {argv + 1, argv + argc}), static_cast<int>(ErrorCategory::usage),
                  context.options.color);
  }
  return context.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  using apotnet::ErrorCategory;
  std::signal(SIGXFSZ, SIG_IGN);  // a file over the limit is an error of write(), as a full disk is
  apotnet::CommandContext context;
  context.command_line.assign(argv, argv + argc);
  const std::string& color = context.options.color;
  try {
    apotnet::selected_isa();  // so that a wrong APOTNET_ISA is said before any work
    const int code = run(argc, argv, context);
    // What did not get out, into a full disk for one, is no result.
    if (!std::cout.flush() && code == 0)
      return report("stdout: cannot write all of the output", static_cast<int>(ErrorCategory::cannot_write), color);
    return code;
  } catch (const std::exception& error) {
    const apotnet::Failure failure(error);
    return report(failure.message, failure.exit_code, color);
  }
}
