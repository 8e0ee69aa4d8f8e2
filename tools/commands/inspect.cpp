#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "tools/commands/command.h"
#include "tools/training/layer_statistics.h"
#include "tools/training/model_file.h"

namespace apotnet {
namespace {

struct InspectOptions {
  std::string path;
  std::optional<int> bits;
};

// One quantized convolution as it stands in the checkpoint.
struct LayerReport {
  std::string name;
  Shape shape;
  QuantizerStatistics weight;
  double activation_alpha = 0;

  double zero() const {  // share of weights with code 0
    return static_cast<double>(weight.occupancy[0]) / static_cast<double>(shape.elements());
  }
};

void print_text(const OpenedModel& opened, const std::vector<LayerReport>& layers, int64_t parameters) {
  const QuantSettings& quant = opened.settings.quant;
  std::printf("%s, %lld classes, %s %d-bit weights, %d-bit activations, %lld parameters%s\n",
              opened.settings.name.c_str(), static_cast<long long>(opened.settings.classes),
              std::string(name_of(quant.method)).c_str(), quant.weight_bits, quant.activation_bits,
              static_cast<long long>(parameters), opened.run ? "" : ", not written by apotnet");
  if (layers.empty()) return;
  std::printf("\n%-24s %-18s %9s %9s %8s %8s  %s\n", "layer", "weight (O, KH, KW, I)", "w alpha", "x alpha", "clipped",
              "zero", "weights per magnitude");
  for (const LayerReport& layer : layers) {
    std::string occupancy;
    for (const int64_t count : layer.weight.occupancy) occupancy += text(count, " ");
    std::printf("%-24s %-21s %9.4f %9.4f %7.2f%% %7.2f%%  %s\n", layer.name.c_str(), text(layer.shape).c_str(),
                layer.weight.alpha, layer.activation_alpha, 100 * layer.weight.clipped, 100 * layer.zero(),
                occupancy.c_str());
  }
}

void run_inspect(const InspectOptions& options, const CommandContext& context) {
  const OpenedModel opened = open_model(options.path, options.bits);
  std::vector<LayerReport> layers;
  opened.model->for_each_module([&](Module& module) {
    if (const auto* layer = dynamic_cast<const QuantConv2d*>(&module); layer && layer->weight_quantizer)
      layers.push_back({layer->name(), layer->weight.shape(), weight_statistics(*layer),
                        layer->activation_quantizer->alpha.value().item()});
  });
  int64_t parameters = 0;
  for (const auto& parameter : opened.model->parameters()) parameters += parameter.variable->value().elements();
  if (!context.options.json) return print_text(opened, layers, parameters);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const LayerReport& layer : layers)
    rows.push_back({{"name", layer.name},
                    {"shape", layer.shape.sizes()},
                    {"weight_alpha", layer.weight.alpha},
                    {"activation_alpha", layer.activation_alpha},
                    {"clipped", layer.weight.clipped},
                    {"zero", layer.zero()},
                    {"occupancy", layer.weight.occupancy}});
  print_json({{"command", "inspect"},
              {"checkpoint", options.path},
              {"model", opened.settings.name},
              {"classes", opened.settings.classes},
              {"method", name_of(opened.settings.quant.method)},
              {"weight_bits", opened.settings.quant.weight_bits},
              {"activation_bits", opened.settings.quant.activation_bits},
              {"parameters", parameters},
              {"layers", rows}});
}

}  // namespace

void add_inspect(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "What is in a checkpoint: model, bits, alphas, level occupancy");
  command->add_option("PATH", options->path, "A .safetensors, .pth or .pth.tar file")->required();
  command->add_option("--bits", options->bits, "Bit width of a checkpoint of another program (2 to 8, 32 = float)")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 7, 8, 32}));
  command->footer("Example: ./apotnet inspect resnet20_3bit.pth.tar --bits 3");
  command->callback([options, &context] { run_inspect(*options, context); });
}

}  // namespace apotnet
