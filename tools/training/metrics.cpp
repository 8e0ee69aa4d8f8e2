#include "tools/training/metrics.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>
#include <tuple>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "tools/json_text.h"

namespace apotnet {
namespace {

constexpr std::string_view kCsvHeader =
    "stage,epoch,step,samples_seen,learning_rate,train_loss,train_top1,validation_loss,validation_top1,seconds,"
    "images_per_second\n";

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// What says when a line was written.
struct LineKey {
  std::string stage;
  int64_t epoch = 0;
  bool test = false;
};

LineKey key_of_csv(const std::string& line) {
  std::istringstream words(line);
  LineKey key;
  std::getline(words, key.stage, ',');
  words >> key.epoch;
  return key;
}

LineKey key_of_json(const std::string& line) {
  const auto object = nlohmann::json::parse(line, nullptr, false);
  if (!object.is_object() || !object.contains("stage") || !object["stage"].is_string() || !object.contains("epoch") ||
      !object["epoch"].is_number_integer())
    return {};  // of no stage
  return {object["stage"], object["epoch"], object.contains("kind") && object["kind"] == "test"};
}

// Keeps `header` and the whole lines behind it that `stays` approves of.
void filter_lines(const std::string& path, std::string_view header,
                  const std::function<bool(const std::string&)>& stays) {
  std::string content(header);
  if (std::error_code ignored; std::filesystem::exists(path, ignored)) {
    const std::vector<std::byte> bytes = read_file(path);
    const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    size_t begin = std::min(all.find('\n'), all.size() - 1) + 1;
    if (header.empty()) begin = 0;
    for (size_t end; (end = all.find('\n', begin)) != std::string_view::npos; begin = end + 1) {
      const std::string line(all.substr(begin, end - begin));
      if (stays(line)) content += line + '\n';
    }
  }
  write_file_atomically(path, {bytes_of(content)});
}

nlohmann::ordered_json layers_json(const std::vector<LayerStatistics>& layers) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const auto or_null = [](std::optional<double> value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  for (const LayerStatistics& layer : layers)
    rows.push_back({{"name", layer.name},
                    {"weight_alpha", layer.weight.alpha},
                    {"activation_alpha", layer.activation.alpha},
                    {"weight_clipped", layer.weight.clipped},
                    {"activation_clipped", layer.activation.clipped},
                    {"weight_occupancy", layer.weight.occupancy},
                    {"activation_occupancy", layer.activation.occupancy},
                    {"weight_alpha_gradient", or_null(layer.weight_alpha_gradient)},
                    {"activation_alpha_gradient", or_null(layer.activation_alpha_gradient)},
                    {"weight_sqnr_db", layer.weight.sqnr_db},  // infinity is written as null
                    {"activation_sqnr_db", layer.activation.sqnr_db}});
  return rows;
}

// Counts per level; the axis is the number of the level.
void add_levels(EventSummary& summary, const std::string& tag, const std::vector<int64_t>& occupancy) {
  std::vector<double> edges(occupancy.size() + 1);
  for (size_t i = 0; i < edges.size(); ++i) edges[i] = static_cast<double>(i) - 0.5;
  summary.histogram(tag, edges, occupancy);
}

EventSummary summary_of(const EpochMetrics& m) {
  EventSummary summary;
  summary.scalar("loss/train", m.train_loss);
  summary.scalar("loss/validation", m.validation_loss);
  summary.scalar("top1/train", m.train_top1);
  summary.scalar("top1/validation", m.validation_top1);
  summary.scalar("top5/validation", m.validation_top5);
  summary.scalar("learning_rate", m.learning_rate);
  summary.scalar("images_per_second", m.images_per_second);
  for (const LayerStatistics& layer : m.layers)
    for (const auto& [kind, quantizer, gradient] :
         {std::tuple{"weight/", &layer.weight, layer.weight_alpha_gradient},
          std::tuple{"activation/", &layer.activation, layer.activation_alpha_gradient}}) {
      const std::string name = kind + layer.name;
      summary.scalar("alpha/" + name, quantizer->alpha);
      summary.scalar("clipped/" + name, quantizer->clipped);
      summary.scalar("sqnr_db/" + name, quantizer->sqnr_db);
      if (gradient) summary.scalar("alpha_gradient/" + name, *gradient);
      add_levels(summary, "levels/" + name, quantizer->occupancy);
    }
  return summary;
}

void append_json(const std::string& path, const nlohmann::ordered_json& object) {
  append_to_file(path, bytes_of(json_text(object) + "\n"));
}

}  // namespace

MetricsFiles::MetricsFiles(const std::string& folder)
    : folder_(folder), csv_(folder + "/metrics.csv"), jsonl_(folder + "/metrics.jsonl") {}

void MetricsFiles::start() {
  write_file_atomically(csv_, {bytes_of(kCsvHeader)});
  write_file_atomically(jsonl_, {});
  events_.emplace(folder_);
}

void MetricsFiles::cut_back(const std::vector<std::string>& stages, const std::string& stage, int64_t epochs,
                            int64_t run_epochs) {
  const auto number = [&](const std::string& name) { return std::ranges::find(stages, name) - stages.begin(); };
  const auto stays = [&](const LineKey& key) {
    if (key.stage != stage) return number(key.stage) < number(stage);
    return key.epoch <= epochs && !key.test;  // the test of a stage comes after its last checkpoint
  };
  filter_lines(csv_, kCsvHeader, [&](const std::string& line) { return stays(key_of_csv(line)); });
  filter_lines(jsonl_, "", [&](const std::string& line) { return stays(key_of_json(line)); });
  events_.emplace(folder_, run_epochs + 1);
}

void MetricsFiles::append(const EpochMetrics& m) {
  append_to_file(csv_, bytes_of(text(m.stage, ',', m.epoch, ',', m.step, ',', m.samples_seen, ',', m.learning_rate, ',',
                                     m.train_loss, ',', m.train_top1, ',', m.validation_loss, ',', m.validation_top1,
                                     ',', m.seconds, ',', m.images_per_second, '\n')));
  append_json(jsonl_, {{"kind", "epoch"},
                       {"stage", m.stage},
                       {"epoch", m.epoch},
                       {"run_epoch", m.run_epoch},
                       {"step", m.step},
                       {"samples_seen", m.samples_seen},
                       {"learning_rate", m.learning_rate},
                       {"train_loss", m.train_loss},
                       {"train_top1", m.train_top1},
                       {"validation_loss", m.validation_loss},
                       {"validation_top1", m.validation_top1},
                       {"validation_top5", m.validation_top5},
                       {"seconds", m.seconds},
                       {"images_per_second", m.images_per_second},
                       {"layers", layers_json(m.layers)}});
  events_->append(m.run_epoch, summary_of(m));
}

void MetricsFiles::append(const TestMetrics& m) {
  append_json(jsonl_, {{"kind", "test"},
                       {"stage", m.stage},
                       {"epoch", m.epoch},
                       {"run_epoch", m.run_epoch},
                       {"test_loss", m.test_loss},
                       {"test_top1", m.test_top1},
                       {"test_top5", m.test_top5},
                       {"seconds", m.seconds}});
  EventSummary summary;
  summary.scalar("loss/test", m.test_loss);
  summary.scalar("top1/test", m.test_top1);
  events_->append(m.run_epoch, summary);
}

}  // namespace apotnet
