#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "core/io/safetensors.h"
#include "tools/commands/command.h"

namespace apotnet {
namespace {

struct ConvertOptions {
  std::string in, out;
};

void run_convert(const ConvertOptions& options, const CommandContext& context) {
  if (!options.out.ends_with(".safetensors"))
    fail(ErrorCategory::usage, options.out, ": the output must be named .safetensors");
  std::error_code ignored;
  if (std::filesystem::equivalent(options.in, options.out, ignored))
    fail(ErrorCategory::usage, options.out, ": input and output are the same file");
  const TensorFile file = read_checkpoint_file(options.in);
  write_safetensors(options.out, file);
  int64_t elements = 0;
  for (const NamedTensor& entry : file.tensors) elements += entry.tensor.elements();
  if (context.options.json)
    print_json({{"command", "convert"},
                {"input", options.in},
                {"output", options.out},
                {"tensors", file.tensors.size()},
                {"elements", elements}});
  else
    std::cout << options.out << ": " << file.tensors.size() << " tensors, " << elements << " elements\n";
}

}  // namespace

void add_convert(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<ConvertOptions>();
  CLI::App* command = app.add_subcommand("convert", "Turn a PyTorch checkpoint into .safetensors");
  command->add_option("IN", options->in, "A .pth or .pth.tar file, legacy or zip")->required();
  command->add_option("OUT", options->out, "The .safetensors file to write")->required();
  command->footer("Example: ./apotnet convert resnet20_3bit.pth.tar resnet20_3bit.safetensors");
  command->callback([options, &context] { run_convert(*options, context); });
}

}  // namespace apotnet
