#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "data/registry.h"
#include "tools/commands/command.h"
#include "tools/commands/foreign.h"
#include "tools/fixed.h"
#include "tools/training/evaluate.h"
#include "tools/training/model_file.h"
#include "tools/training/run_data.h"

namespace apotnet {
namespace {

struct EvalOptions {
  std::string checkpoint, data, engine = "float", logits;
  ForeignOptions foreign;
  int64_t limit = 0;
  std::optional<double> min_top1;
};

std::shared_ptr<const Dataset> open_test_split(const EvalOptions& options, const OpenedModel& opened) {
  DataSpec spec{opened.dataset, ""};
  if (!options.data.empty()) spec = parse_data_spec(options.data);
  if (spec.name.empty())
    fail(ErrorCategory::usage, options.checkpoint,
         ": does not tell what data it is for; add --data, as in cifar10:DIR");
  // A checkpoint of ours knows how its generated data were made and where the others lay.
  const RunConfig run = opened.run.value_or(RunConfig{});
  const std::string root = spec.name == run.data.name ? run.data.root : "";
  const auto dataset = open_dataset(spec.name, resolve_data_root(spec.root, root), Split::test, dataset_options(run));
  return options.limit > 0 ? take_first(dataset, options.limit) : dataset;
}

void print_evaluation(const EvalOptions& options, const OpenedModel& opened, const Evaluation& found,
                      const std::string& dataset, int threads, const GlobalOptions& global) {
  const QuantSettings& quant = opened.settings.quant;
  if (global.json) {
    print_json({{"command", "eval"},
                {"checkpoint", options.checkpoint},
                {"model", opened.settings.name},
                {"dataset", dataset},
                {"split", "test"},
                {"count", found.count},
                {"weight_bits", quant.weight_bits},
                {"activation_bits", quant.activation_bits},
                {"engine", options.engine},
                {"device", global.device},
                {"threads", threads},
                {"top1", found.top1},
                {"top5", found.top5},
                {"loss", found.loss},
                {"seconds", found.seconds},
                {"images_per_second", found.images_per_second()}});
    return;
  }
  std::cout << opened.settings.name << ", " << quant.weight_bits << "-bit weights, " << quant.activation_bits
            << "-bit activations, on " << found.count << " test images of " << dataset << "\n"
            << "top-1 " << fixed(found.top1, 2) << " %   top-5 " << fixed(found.top5, 2) << " %   loss "
            << fixed(found.loss, 4) << "   " << fixed(found.images_per_second(), 0) << " images/s\n";
}

void run_eval(const EvalOptions& options, CommandContext& context) {
  const Compute compute = apply_device_options(context.options);
  const bool integer = options.engine == "integer";
  const OpenedModel opened = open_model(options.checkpoint, options.foreign, context.options.quiet);
  if (!integer && compute.device != Device{}) opened.model->move_to(compute.device);
  const auto dataset = open_test_split(options, opened);
  require_channels(*opened.model, dataset->name(), dataset->channels());
  require_same_classes(options.checkpoint, opened.class_names, *dataset);
  const int64_t classes = opened.settings.classes;
  const Evaluation found = integer ? evaluate_integer(*opened.model, classes, dataset, compute.device)
                                   : evaluate(*opened.model, classes, dataset);
  print_evaluation(options, opened, found, dataset->name(), compute.threads, context.options);
  if (!options.logits.empty())  // behind the result, which is not lost then where they cannot be written
    write_safetensors(options.logits, {{{"logits", found.logits}, {"labels", found.labels}}, {}});
  if (options.min_top1 && !(found.top1 >= *options.min_top1))  // a NaN is never reached
    fail(ErrorCategory::check_failed, "top-1 of ", fixed(found.top1, 2), " % is below --min-top1 ", *options.min_top1);
}

}  // namespace

void add_eval(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<EvalOptions>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy and loss of a checkpoint on the test split");
  command->add_option("--checkpoint", options->checkpoint, "A .safetensors, .pth or .pth.tar file")->required();
  command->add_option("--data", options->data, "Data: a folder, or name:folder as in cifar10:DIR, or shapes10");
  add_foreign_options(*command, options->foreign);
  command
      ->add_option(
          "--engine", options->engine,
          "float: evaluation as in training; integer: the same logits from integer sums and thresholds, faster")
      ->check(CLI::IsMember({"float", "integer"}));
  command->add_option("--limit", options->limit, "Only the first N images")->check(number_between(1));
  command->add_option("--logits", options->logits,
                      "Write logits [n, classes] and labels [n] to this .safetensors file");
  command->add_option("--min-top1", options->min_top1, "Exit with 1 when top-1 % is lower")
      ->check(number_between(0, 100));
  add_device_options(*command, context);
  command->footer("Example: ./apotnet eval --checkpoint resnet20_3bit.pth.tar --bits 3 --data cifar10:DIR --json");
  command->callback([options, &context] { run_eval(*options, context); });
}

}  // namespace apotnet
