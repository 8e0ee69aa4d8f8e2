#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/registry.h"
#include "tools/commands/command.h"
#include "tools/commands/fetch.h"
#include "tools/fixed.h"
#include "tools/json_text.h"
#include "tools/report/page.h"
#include "tools/training/trainer.h"

namespace apotnet {
namespace {

// `report`: its path, or empty where it could not be written.
void print_result(const TrainResult& result, const std::string& report, const CommandContext& context) {
  if (context.options.json) {
    print_json({{"command", "train"},
                {"run", result.folder},
                {"checkpoint", result.checkpoint},
                {"report", report.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(report)},
                {"epochs", result.epochs},
                {"steps", result.steps},
                {"seconds", result.seconds},
                {"test_top1", result.test.top1},
                {"test_top5", result.test.top5},
                {"test_loss", result.test.loss}});
    return;
  }
  std::cout << "test top-1 " << fixed(result.test.top1, 2) << " % on " << result.test.count << " images, loss "
            << fixed(result.test.loss, 4) << "\n"
            << "run " << result.folder << ", best checkpoint " << result.checkpoint
            << (report.empty() ? "" : ", report " + report) << "\n";
}

}  // namespace

void add_train(CLI::App& app, CommandContext& context) {
  struct Options : TrainOptions {
    std::string data;
    bool download = false;
  };
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("train", "Train the network that a configuration describes");
  command->add_option("CONFIG", options->config_path, "Configuration file (configs/*.json)")->required();
  command->add_option("--set", options->overrides, "Override a value, e.g. --set stages.0.epochs=1 (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--init", options->init,
                      "Checkpoint to start the last stage from (.safetensors, .pth, .pth.tar)");
  command
      ->add_option("--resume", options->resume,
                   "Continue a run, from its newest whole checkpoint or from PATH (a checkpoint or a run folder)")
      ->expected(0, 1)
      ->option_text("[PATH]");
  command->add_option("--out", options->out, "Run folder (default: runs/<config name>)");
  command->add_option("--data", options->data, "Data: a folder, or name:folder as in cifar10:DIR, or shapes10");
  command->add_flag("--download", options->download, "Download the data set when it is not there");
  add_device_options(*command, context);
  command->footer("Example: ./apotnet train configs/resnet20_cifar_4bit.json --data cifar10:DIR --threads 2");
  command->callback([options, &context] {
    const Compute compute = apply_device_options(context.options);
    options->threads = compute.threads;
    options->device = compute.device;
    if (options->resume && !options->resume->empty() && !options->out.empty())
      fail(ErrorCategory::usage, "--resume ", *options->resume, " names the run folder; leave --out away");
    options->quiet = context.options.quiet;
    options->color = context.options.color;
    options->command_line = context.command_line;
    if (!options->data.empty()) {  // recorded with the run, like any other override
      const DataSpec spec = parse_data_spec(options->data);
      options->overrides.push_back("data.name=" + spec.name);
      options->overrides.push_back("data.root=" + json_text(nlohmann::json(spec.root.string())));
    }
    const ResolvedConfig config = load_config(options->config_path, options->overrides);
    const DataConfig& data = config.run.data;
    offer_dataset(data.name, resolve_data_root("", data.root), options->download, context.options);
    const TrainResult result = Trainer(config, *options).run();
    if (result.test.count > 0) {
      const std::string report = result.folder + "/report.html";
      try {
        write_report({read_run_report(result.folder, "", &result.test)}, report);
      } catch (...) {  // the result is there whatever becomes of the report
        print_result(result, "", context);
        throw;
      }
      print_result(result, report, context);
    }
    if (result.signal) context.exit_code = 128 + result.signal;
  });
}

}  // namespace apotnet
