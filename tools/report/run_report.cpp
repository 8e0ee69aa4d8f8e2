#include "tools/report/run_report.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "data/registry.h"
#include "layers/quant_conv2d.h"
#include "models/registry.h"
#include "tools/config/config.h"
#include "tools/training/evaluate.h"
#include "tools/training/model_file.h"
#include "tools/training/run_data.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostJsonBytes = 16 << 20;

std::string file_text(const fs::path& path) {
  const std::vector<std::byte> bytes = read_file(path.string(), kMostJsonBytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string file_text_if_any(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? file_text(path) : "";
}

// The network of a stage as it would begin; what it costs does not depend on its weights.
NetworkCost cost_of_stage(const RunConfig& run, const StageConfig& stage, int64_t classes) {
  const ModelSettings settings = model_settings(run, stage, classes);
  const auto model = make_model(settings);
  Philox random(1, RandomStream::weights);
  model->initialize(random);
  return cost_of(*model, settings);
}

StageReport stage_report(const RunReport& report, const StageConfig& stage, int64_t classes) {
  StageReport result{.config = stage};
  for (const EpochMetrics& epoch : report.metrics.epochs)
    if (epoch.stage == stage.name) {
      ++result.epochs;
      result.best_top1 = std::max(result.best_top1.value_or(0), epoch.validation_top1);
    }
  for (const TestMetrics& test : report.metrics.tests)
    if (test.stage == stage.name) result.test = test;
  result.cost = cost_of_stage(report.run, stage, classes);
  return result;
}

std::vector<LayerWeights> weights_of(Model& model) {
  const NoGrad no_grad;
  std::vector<LayerWeights> layers;
  model.for_each_module([&](Module& module) {
    const auto* conv = dynamic_cast<const QuantConv2d*>(&module);
    if (!conv || !conv->weight_quantizer) return;
    const Variable rounded = conv->weight_quantizer->forward(conv->weight, conv->name());
    const Quantized& q = rounded.quantized();
    LayerWeights layer{conv->name(), q.shape(), q.levels, {}};
    dispatch_any(q.codes.dtype(), [&](auto zero) {
      for (const auto code : q.codes.data<decltype(zero)>()) layer.codes.push_back(static_cast<int>(code));
    });
    layers.push_back(std::move(layer));
  });
  return layers;
}

// Class of the largest logit, and its softmax.
std::pair<int, double> guess_of(std::span<const float> logits) {
  const auto largest = std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - *largest);
  return {static_cast<int>(largest - logits.begin()), 1 / sum};
}

TestReport test_report(const Dataset& data, const Evaluation& found) {
  TestReport report{.count = found.count,
                    .height = data.height(),
                    .width = data.width(),
                    .channels = data.channels(),
                    .class_names = data.class_names(),
                    .confusion = {},
                    .mistakes = {}};
  const size_t classes = report.class_names.size();
  report.confusion.resize(classes * classes);
  for (int64_t i = 0; i < found.count; ++i) {
    const auto row = static_cast<size_t>(i);
    const auto [guess, probability] = guess_of(found.logits.data<float>().subspan(row * classes, classes));
    const int truth = static_cast<int>(found.labels.data<int64_t>()[row]);
    ++report.confusion[static_cast<size_t>(truth) * classes + static_cast<size_t>(guess)];
    if (guess != truth) report.mistakes.push_back({i, truth, guess, probability, {}});
  }
  std::ranges::stable_sort(report.mistakes, std::ranges::greater{}, &Mistake::probability);
  report.mistakes.resize(std::min(report.mistakes.size(), kMostMistakes));
  for (Mistake& mistake : report.mistakes) {
    mistake.pixels.resize(static_cast<size_t>(report.height * report.width * report.channels));
    data.read(mistake.index, mistake.pixels);
  }
  return report;
}

// Whether the stage of the newest epoch has been tested.
bool ended_stage(const RunMetrics& metrics) {
  return !metrics.epochs.empty() && std::ranges::any_of(metrics.tests, [&](const TestMetrics& test) {
    return test.stage == metrics.epochs.back().stage;
  });
}

void study_checkpoint(RunReport& report, const OpenedModel& opened, const std::string& data, const Evaluation* found) {
  report.weights = weights_of(*opened.model);
  if (!ended_stage(report.metrics)) {
    report.test_missing = "the stage has not ended: the test split is read then, and not before";
    return;
  }
  RunConfig run = report.run;
  if (!data.empty()) {
    const DataSpec spec = parse_data_spec(data);
    run.data.name = spec.name;
    run.data.root = spec.root.string();
  }
  std::shared_ptr<const Dataset> test;
  try {
    test = open_run_split(run, Split::test);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::input_missing || !data.empty()) throw;
    report.test_missing = text("the data are not there: ", error.what());
    return;
  }
  require_same_classes(report.checkpoint, opened.class_names, *test);
  report.test = test_report(*test, found ? *found : evaluate(*opened.model, opened.settings.classes, test));
}

}  // namespace

const LevelSet& weight_levels(const RunReport& report, const StageConfig& stage) {
  return LevelSet::for_weights(parse_level_method(report.run.quant.method), static_cast<int>(stage.weight_bits));
}

const LevelSet& activation_levels(const RunReport& report, const StageConfig& stage, size_t count) {
  const LevelMethod method = parse_level_method(report.run.quant.method);
  const int bits = static_cast<int>(stage.activation_bits);
  const LevelSet& without_sign = LevelSet::for_activations(method, bits);
  return without_sign.codes().size() == count ? without_sign : LevelSet::for_weights(method, bits);
}

RunReport read_run_report(const std::string& folder, const std::string& data, const Evaluation* test) {
  const fs::path path = fs::path(folder).lexically_normal();
  std::error_code ignored;
  if (!fs::exists(path / "config.json", ignored) || !fs::exists(path / "metrics.jsonl", ignored))
    fail(ErrorCategory::input_missing, folder,
         ": is no run folder; expected one that train made, with config.json and metrics.jsonl in it");
  RunReport report;
  report.folder = path.string();
  const fs::path whole = fs::absolute(path).lexically_normal();  // "." has a name too
  report.name = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  report.config = file_text(path / "config.json");
  report.run = parse_resolved(report.config, (path / "config.json").string());
  report.environment = file_text_if_any(path / "environment.json");
  const auto status = nlohmann::json::parse(file_text_if_any(path / "status.json"), nullptr, false);
  const bool has_state = status.is_object() && status.contains("state") && status["state"].is_string();
  report.state = has_state ? status["state"].get<std::string>() : "unknown";
  report.metrics = read_metrics((path / "metrics.jsonl").string());
  for (const char* name : {"last", "best"})
    if (const fs::path file = path / "checkpoints" / (std::string(name) + ".safetensors"); fs::exists(file, ignored))
      report.checkpoint = file.string();
  // A folder of pictures may have other classes than the data set whose layout it has.
  auto classes = static_cast<int64_t>(dataset_info(report.run.data.name).class_names.size());
  if (!report.checkpoint.empty()) {
    const OpenedModel opened = open_model(report.checkpoint, {});
    classes = opened.settings.classes;
    study_checkpoint(report, opened, data, test);
  }
  for (const StageConfig& stage : report.run.stages) report.stages.push_back(stage_report(report, stage, classes));
  return report;
}

}  // namespace apotnet
