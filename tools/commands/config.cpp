#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "tools/commands/command.h"
#include "tools/config/config.h"
#include "tools/config/schema.h"

namespace apotnet {
namespace {

struct ConfigOptions {
  std::vector<std::string> files, overrides;
};

void show(const ConfigOptions& options, const CommandContext& context) {
  const ResolvedConfig config = load_config(options.files[0], options.overrides);
  if (context.options.json) {
    nlohmann::ordered_json values = nlohmann::ordered_json::array();
    for (const ConfigValue& value : config.values)
      values.push_back(
          {{"path", value.path}, {"value", nlohmann::ordered_json::parse(value.value)}, {"origin", value.origin}});
    return print_json({{"command", "config show"}, {"file", options.files[0]}, {"values", values}});
  }
  size_t widest = 0;
  for (const ConfigValue& value : config.values) widest = std::max(widest, value.path.size() + value.value.size());
  for (const ConfigValue& value : config.values)
    std::cout << value.path << " = " << value.value
              << std::string(widest + 3 - value.path.size() - value.value.size(), ' ') << '(' << value.origin << ")\n";
}

void check(const ConfigOptions& options, CommandContext& context) {
  for (const std::string& file : options.files) {
    std::string mistakes;
    try {
      load_config(file, options.overrides);
    } catch (const Error& error) {
      mistakes = error.what();
      context.exit_code = std::max(context.exit_code, error.exit_code());
    }
    if (context.options.json)
      print_json({{"command", "config check"}, {"file", file}, {"ok", mistakes.empty()}, {"mistakes", mistakes}});
    else if (mistakes.empty())
      std::cout << file << ": ok\n";
    else
      std::cerr << mistakes << '\n';
  }
}

}  // namespace

void add_config(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<ConfigOptions>();
  CLI::App* config = app.add_subcommand("config", "Show or check configurations");
  config->require_subcommand(1);
  CLI::App* shown = config->add_subcommand("show", "Every value of a configuration and where it comes from");
  CLI::App* checked = config->add_subcommand("check", "Say what is wrong with configurations");
  CLI::App* reference = config->add_subcommand("reference", "The table of all fields, as Markdown");
  for (CLI::App* command : {shown, checked}) {
    CLI::Option* files = command->add_option("FILE", options->files, "Configuration file")->required();
    if (command == shown) files->expected(1);
    command->add_option("--set", options->overrides, "Override a value, e.g. --set seed=2 (repeatable)")
        ->allow_extra_args(false);
  }
  config->footer("Example: ./apotnet config show configs/resnet20_cifar_4bit.json --set seed=2");
  shown->footer("Example: ./apotnet config show configs/resnet20_cifar_4bit.json --set seed=2");
  checked->footer("Example: ./apotnet config check configs/*.json");
  reference->footer("Example: ./apotnet config reference > fields.md");
  shown->callback([options, &context] { show(*options, context); });
  checked->callback([options, &context] { check(*options, context); });
  reference->callback([] { std::cout << markdown_reference(); });
}

}  // namespace apotnet
