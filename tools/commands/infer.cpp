#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <variant>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "data/augment.h"
#include "data/picture_list.h"
#include "data/registry.h"
#include "data/resize.h"
#include "deploy/compile.h"
#include "tools/commands/command.h"
#include "tools/commands/foreign.h"
#include "tools/fixed.h"
#include "tools/report/contact_sheet.h"
#include "tools/training/evaluate.h"
#include "tools/training/model_file.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

// Images that are decoded side by side; results appear after each group.
constexpr size_t kGroup = 32;

struct InferOptions {
  std::string checkpoint, data, engine, html;
  std::vector<std::string> images;
  ForeignOptions foreign;
  int64_t top = 5;
};

// The data set's classes, input size and normalisation are what the network was trained with.
DatasetInfo trained_on(const InferOptions& options, const OpenedModel& opened) {
  const std::string name = options.data.empty() ? opened.dataset : parse_data_spec(options.data).name;
  if (name.empty())
    fail(ErrorCategory::usage, options.checkpoint, ": does not tell what data it is for; add --data, as in cifar10");
  DatasetInfo info = dataset_info(name);
  const int64_t classes = opened.settings.classes;
  if (!opened.class_names.empty() && name == opened.dataset) info.class_names = opened.class_names;
  if (opened.run && info.resized_side > 0) {
    info.height = info.width = static_cast<int>(opened.run->data.image_size);
    info.resized_side = static_cast<int>(opened.run->data.resized_side);
  }
  if (static_cast<int64_t>(info.class_names.size()) != classes)
    fail(ErrorCategory::configuration, "the data set ", name, " has ", info.class_names.size(), " classes, the model ",
         classes);
  require_channels(*opened.model, name, info.channels);
  return info;
}

/// A trained network with what surrounds it: from decoded images to class probabilities.
class Classifier {
 public:
  /// `engine`: integer or float; empty for integer where the network can be one. `why_float` says why it could not.
  Classifier(std::unique_ptr<Model> model, DatasetInfo info, const std::string& engine, std::string& why_float)
      : model_(std::move(model)), info_(std::move(info)), normalise_(info_.mean, info_.std) {
    model_->set_training(false);
    if (engine == "integer") network_ = compile(*model_, info_.height, info_.width, info_.channels);
    if (engine.empty())
      network_ = compile_if_possible(*model_, info_.height, info_.width, info_.channels, {}, why_float);
  }

  const std::vector<std::string>& class_names() const { return info_.class_names; }
  const char* engine() const { return network_ ? "integer" : "float"; }

  /// Another size is resized to cover the network's input, and the middle is taken.
  Tensor prepare(const Image& image) const {
    const int side = info_.resized_side > 0 ? info_.resized_side : std::max(info_.height, info_.width);
    Image fitted = resize_and_crop(image, side, {.height = info_.height, .width = info_.width});
    if (info_.channels == 1) fitted.pixels = grey_values(fitted);
    Tensor input({1, info_.height, info_.width, info_.channels}, DType::f32);
    place_and_normalise(fitted.pixels, info_.height, info_.width, 0, {}, normalise_, input.data<float>());
    return input;
  }

  /// Softmax of the logits. One image at a time: what a picture is must not depend on its neighbours.
  std::vector<double> probabilities(const Tensor& input) {
    const NoGrad no_grad;
    const Tensor logits = network_ ? network_->run(input) : model_->forward(Variable(input)).value();
    const std::span<const float> values = logits.data<float>();
    const double largest = *std::ranges::max_element(values);
    std::vector<double> result;
    for (const float value : values) result.push_back(std::exp(value - largest));
    const double sum = std::accumulate(result.begin(), result.end(), 0.0);
    for (double& value : result) value /= sum;
    return result;
  }

 private:
  std::unique_ptr<Model> model_;
  std::unique_ptr<IntegerNetwork> network_;  // none: the float engine
  DatasetInfo info_;
  Normaliser normalise_;
};

struct Prepared {
  int height = 0, width = 0;  // of the file
  Tensor input;
  Image picture;  // for a contact sheet
};

// Of a file that is missing or no image, the error: the other files are still classified.
std::variant<Prepared, Error> prepare(const std::string& path, const Classifier& classifier, bool keeps_picture) {
  try {
    Image image = read_image(path);
    Prepared prepared{image.height, image.width, classifier.prepare(image), {}};
    if (keeps_picture) prepared.picture = std::move(image);
    return prepared;
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::damaged_data && error.category() != ErrorCategory::input_missing) throw;
    return error;
  }
}

// Classes, the most probable first.
std::vector<size_t> most_probable(const std::vector<double>& probabilities, int64_t count) {
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return probabilities[a] > probabilities[b]; });
  order.resize(std::min(order.size(), static_cast<size_t>(count)));
  return order;
}

void print_classes(const std::string& path, const Prepared& prepared, const std::vector<double>& probabilities,
                   const std::vector<size_t>& order, const Classifier& classifier, bool json) {
  if (json) {
    nlohmann::ordered_json classes = nlohmann::ordered_json::array();
    for (const size_t i : order)
      classes.push_back({{"class", i}, {"name", classifier.class_names()[i]}, {"probability", probabilities[i]}});
    return print_json({{"command", "infer"},
                       {"file", path},
                       {"width", prepared.width},
                       {"height", prepared.height},
                       {"engine", classifier.engine()},
                       {"top", classes}});
  }
  std::cout << path << " (" << prepared.width << " x " << prepared.height << ")\n";
  for (const size_t i : order) {
    const std::string percent = fixed(100 * probabilities[i], 2);
    std::cout << std::string(8 - std::min<size_t>(8, percent.size()), ' ') << percent << " %  "
              << classifier.class_names()[i] << "\n";
  }
  std::cout << std::flush;
}

// The files as given; of a folder the image files in it and below, sorted by path. What else is there is counted.
std::vector<std::string> image_files(const std::vector<std::string>& given, bool quiet) {
  std::vector<std::string> files;
  for (const std::string& path : given) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    const size_t before = files.size();
    int64_t others = 0;
    fs::recursive_directory_iterator entries(path, error);
    for (const fs::recursive_directory_iterator end; !error && entries != end; entries.increment(error))
      if (std::error_code ignored; entries->is_regular_file(ignored)) {
        if (is_picture_name(entries->path().filename().string()))
          files.push_back(entries->path().string());
        else
          ++others;
      }
    if (error) fail(ErrorCategory::input_missing, path, ": cannot be read: ", error.message());
    if (files.size() == before)
      fail(ErrorCategory::input_missing, path, ": holds no image files (.jpg, .jpeg, .png, .bmp)");
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
    if (others > 0 && !quiet)
      std::cerr << "apotnet: " << path << ": skips " << others << (others == 1 ? " other file" : " other files")
                << std::endl;
  }
  return files;
}

void run_infer(const InferOptions& options, CommandContext& context) {
  apply_compute_options(context.options);
  const std::vector<std::string> files = image_files(options.images, context.options.quiet);
  OpenedModel opened = open_model(options.checkpoint, options.foreign, context.options.quiet);
  const QuantSettings& quant = opened.settings.quant;
  const DatasetInfo info = trained_on(options, opened);
  const bool keeps_pictures = !options.html.empty();
  ContactSheet sheet(text(opened.settings.name, ", ", quant.weight_bits, "-bit weights, ", quant.activation_bits,
                          "-bit activations, ", options.checkpoint));
  const bool quantized = quant.weight_bits < 32 && quant.activation_bits < 32;
  std::string why_float;
  Classifier classifier(std::move(opened.model), info, options.engine.empty() && !quantized ? "float" : options.engine,
                        why_float);
  if (!why_float.empty() && !context.options.quiet)
    std::cerr << "apotnet: computes in float: " << why_float << std::endl;

  std::vector<std::variant<Prepared, Error>> group;
  for (size_t begin = 0; begin < files.size(); begin += kGroup) {
    group.assign(std::min(kGroup, files.size() - begin), Prepared{});
    parallel_for(static_cast<int64_t>(group.size()), [&](int64_t i) {
      const size_t at = static_cast<size_t>(i);
      group[at] = prepare(files[begin + at], classifier, keeps_pictures);
    });
    for (size_t i = 0; i < group.size(); ++i) {
      if (const Error* error = std::get_if<Error>(&group[i])) {
        std::cerr << "apotnet: error: " << error->what() << std::endl;
        if (keeps_pictures) sheet.add_failure(error->what());
        if (context.exit_code == 0) context.exit_code = error->exit_code();
        continue;
      }
      const Prepared& prepared = std::get<Prepared>(group[i]);
      const std::vector<double> probabilities = classifier.probabilities(prepared.input);
      const std::vector<size_t> order = most_probable(probabilities, options.top);
      print_classes(files[begin + i], prepared, probabilities, order, classifier, context.options.json);
      if (!keeps_pictures) continue;
      std::vector<std::pair<std::string, double>> top;
      for (const size_t c : order) top.emplace_back(classifier.class_names()[c], probabilities[c]);
      sheet.add(files[begin + i], prepared.picture, top);
    }
  }
  if (keeps_pictures) sheet.write(options.html);
}

}  // namespace

void add_infer(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<InferOptions>();
  CLI::App* command = app.add_subcommand("infer", "Classifies image files: JPEG, PNG or BMP");
  command->add_option("--checkpoint", options->checkpoint, "A .safetensors, .pth or .pth.tar file")->required();
  command
      ->add_option("IMAGE", options->images,
                   "Image files of any size, or folders of them: resized to cover the network's input, the middle is "
                   "taken")
      ->required();
  command->add_option("--top", options->top, "Print the N most probable classes (default: 5)")
      ->check(number_between(1));
  add_foreign_options(*command, options->foreign);
  command
      ->add_option("--engine", options->engine,
                   "integer (default where the codes of the network have 8 bits) or float; both give the same "
                   "probabilities")
      ->check(CLI::IsMember({"float", "integer"}));
  command->add_option(
      "--data", options->data,
      "What it was trained on, when the checkpoint does not tell: cifar10, cifar100, imagenet, mnist or shapes10");
  command->add_option("--html", options->html, "Also write a page with the pictures and their classes to this file");
  add_compute_options(*command, context);
  command->footer("Example: ./apotnet infer --checkpoint resnet20_3bit.pth.tar --bits 3 cat.jpg pictures/ --top 3");
  command->callback([options, &context] { run_infer(*options, context); });
}

}  // namespace apotnet
