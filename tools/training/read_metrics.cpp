#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "tools/training/metrics.h"

namespace apotnet {
namespace {

using Json = nlohmann::json;

// Infinity and NaN are null in JSON; a ratio of signal to noise is infinite where the noise is 0.
double number(const Json& object, const char* key, double otherwise) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? otherwise : found->get<double>();
}

std::optional<double> number_if_any(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? std::nullopt : std::optional(found->get<double>());
}

QuantizerStatistics quantizer_of(const Json& layer, const std::string& kind) {
  return {.alpha = layer.at(kind + "_alpha").get<double>(),
          .clipped = layer.at(kind + "_clipped").get<double>(),
          .sqnr_db = number(layer, (kind + "_sqnr_db").c_str(), std::numeric_limits<double>::infinity()),
          .occupancy = layer.at(kind + "_occupancy").get<std::vector<int64_t>>()};
}

std::vector<LayerStatistics> layers_of(const Json& line) {
  std::vector<LayerStatistics> layers;
  for (const Json& layer : line.value("layers", Json::array()))
    layers.push_back({.name = layer.at("name").get<std::string>(),
                      .weight = quantizer_of(layer, "weight"),
                      .activation = quantizer_of(layer, "activation"),
                      .weight_alpha_gradient = number_if_any(layer, "weight_alpha_gradient"),
                      .activation_alpha_gradient = number_if_any(layer, "activation_alpha_gradient")});
  return layers;
}

void add_line(RunMetrics& metrics, const Json& line) {
  const std::string kind = line.at("kind");
  const double none = std::numeric_limits<double>::quiet_NaN();
  const auto epochs_before = static_cast<int64_t>(metrics.epochs.size());
  if (kind == "test")
    metrics.tests.push_back({.stage = line.at("stage"),
                             .epoch = line.at("epoch"),
                             .run_epoch = line.value("run_epoch", epochs_before),
                             .test_loss = number(line, "test_loss", none),
                             .test_top1 = line.at("test_top1"),
                             .test_top5 = line.at("test_top5"),
                             .seconds = line.at("seconds")});
  if (kind == "epoch")
    metrics.epochs.push_back({.stage = line.at("stage"),
                              .epoch = line.at("epoch"),
                              .step = line.at("step"),
                              .samples_seen = line.at("samples_seen"),
                              .run_epoch = line.value("run_epoch", epochs_before + 1),
                              .learning_rate = line.at("learning_rate"),
                              .train_loss = number(line, "train_loss", none),
                              .train_top1 = line.at("train_top1"),
                              .validation_loss = number(line, "validation_loss", none),
                              .validation_top1 = line.at("validation_top1"),
                              .validation_top5 = number(line, "validation_top5", none),
                              .seconds = line.at("seconds"),
                              .images_per_second = line.at("images_per_second"),
                              .layers = layers_of(line)});
}

}  // namespace

RunMetrics read_metrics(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  RunMetrics metrics;
  int64_t number = 1;
  for (size_t begin = 0, end; (end = all.find('\n', begin)) != std::string_view::npos; begin = end + 1, ++number) try {
      add_line(metrics, Json::parse(all.substr(begin, end - begin)));
    } catch (const Json::exception&) {
      fail(ErrorCategory::damaged_data, path, ":", number, ": is not a line of metrics; was the file edited?");
    }
  return metrics;
}

}  // namespace apotnet
