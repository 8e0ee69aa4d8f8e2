#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "models/cost.h"
#include "models/registry.h"
#include "tools/commands/command.h"
#include "tools/commands/foreign.h"
#include "tools/training/layer_statistics.h"
#include "tools/training/model_file.h"

namespace apotnet {
namespace {

struct InspectOptions {
  std::string path;
  ForeignOptions foreign;
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

struct ModelReport {
  int64_t parameters = 0;
  NetworkCost cost;
  std::vector<LayerReport> layers;
};

ModelReport report_of(OpenedModel& opened) {
  ModelReport report;
  for (const auto& parameter : opened.model->parameters()) report.parameters += parameter.variable->value().elements();
  report.cost = cost_of(*opened.model, opened.settings);
  opened.model->for_each_module([&](Module& module) {
    if (const auto* layer = dynamic_cast<const QuantConv2d*>(&module); layer && layer->weight_quantizer)
      report.layers.push_back({layer->name(), layer->weight.shape(), weight_statistics(*layer),
                               layer->activation_quantizer->alpha.value().item()});
  });
  return report;
}

void print_quantizers(const std::vector<LayerReport>& layers) {
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

void print_cost(const ModelReport& report, const Shape& image) {
  const NetworkCost& cost = report.cost;
  std::printf("\nfor one image of %lld x %lld\n%-24s %8s %12s %12s %12s\n", static_cast<long long>(image[1]),
              static_cast<long long>(image[2]), "layer", "bits w/x", "1000 MACs", "1000 FixOPS", "KiB");
  for (const LayerCost& layer : cost.layers)
    std::printf("%-24s %5d/%2d %12.1f %12.1f %12.2f\n", layer.name.c_str(), layer.weight_bits, layer.activation_bits,
                static_cast<double>(layer.macs) / 1e3, layer.fixops() / 1e3, layer.bytes / 1024);
  std::printf("%-24s %8s %12s %12s %12.2f\n", "biases, batch norms", "32", "", "", cost.other_bytes / 1024);
  std::printf("%-24s %8s %12.1f %12.1f %12.2f\n", "all", "", static_cast<double>(cost.macs()) / 1e3,
              cost.fixops() / 1e3, cost.bytes() / 1024);
  if (cost.bytes() < cost.float_bytes())
    std::printf("%-24s %8s %12s %12s %12.2f  %.1f times as large\n", "all in float", "32", "", "",
                cost.float_bytes() / 1024, cost.float_bytes() / cost.bytes());
}

void print_text(const OpenedModel& opened, const ModelReport& report) {
  const QuantSettings& quant = opened.settings.quant;
  std::printf("%s, %lld classes, %s %d-bit weights, %d-bit activations, %lld parameters%s\n",
              opened.settings.name.c_str(), static_cast<long long>(opened.settings.classes),
              std::string(name_of(quant.method)).c_str(), quant.weight_bits, quant.activation_bits,
              static_cast<long long>(report.parameters), opened.run ? "" : ", not written by apotnet");
  if (!report.layers.empty()) print_quantizers(report.layers);
  print_cost(report, model_input(opened.settings.name));
}

nlohmann::ordered_json json_of(const LayerReport& layer) {
  return {{"name", layer.name},
          {"shape", layer.shape.sizes()},
          {"weight_alpha", layer.weight.alpha},
          {"activation_alpha", layer.activation_alpha},
          {"clipped", layer.weight.clipped},
          {"zero", layer.zero()},
          {"occupancy", layer.weight.occupancy}};
}

nlohmann::ordered_json json_of(const LayerCost& layer) {
  return {{"name", layer.name}, {"weight_bits", layer.weight_bits}, {"activation_bits", layer.activation_bits},
          {"macs", layer.macs}, {"fixops", layer.fixops()},         {"bytes", layer.bytes}};
}

void run_inspect(const InspectOptions& options, const CommandContext& context) {
  OpenedModel opened = open_model(options.path, options.foreign, context.options.quiet);
  const ModelReport report = report_of(opened);
  if (!context.options.json) return print_text(opened, report);
  nlohmann::ordered_json layers = nlohmann::ordered_json::array(), costs = layers;
  for (const LayerReport& layer : report.layers) layers.push_back(json_of(layer));
  for (const LayerCost& layer : report.cost.layers) costs.push_back(json_of(layer));
  print_json({{"command", "inspect"},
              {"checkpoint", options.path},
              {"model", opened.settings.name},
              {"classes", opened.settings.classes},
              {"method", name_of(opened.settings.quant.method)},
              {"weight_bits", opened.settings.quant.weight_bits},
              {"activation_bits", opened.settings.quant.activation_bits},
              {"parameters", report.parameters},
              {"macs", report.cost.macs()},
              {"fixops", report.cost.fixops()},
              {"bytes", report.cost.bytes()},
              {"float_bytes", report.cost.float_bytes()},
              {"layers", layers},
              {"cost", costs}});
}

}  // namespace

void add_inspect(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command =
      app.add_subcommand("inspect", "What is in a checkpoint: model, bits, alphas, level occupancy, cost and size");
  command->add_option("PATH", options->path, "A .safetensors, .pth or .pth.tar file")->required();
  add_foreign_options(*command, options->foreign);
  command->footer("Example: ./apotnet inspect resnet20_3bit.pth.tar --bits 3");
  command->callback([options, &context] { run_inspect(*options, context); });
}

}  // namespace apotnet
