// bench train and bench infer: whole steps of a network on random weights and images.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "data/loader.h"
#include "data/registry.h"
#include "deploy/compile.h"
#include "models/registry.h"
#include "optim/sgd.h"
#include "tools/bench/calibration.h"
#include "tools/bench/measure.h"
#include "tools/commands/bench.h"
#include "tools/commands/foreign.h"
#include "tools/fixed.h"
#include "tools/training/evaluate.h"
#include "tools/training/model_file.h"
#include "tools/training/run_data.h"

namespace apotnet {
namespace {

struct ModelBench {
  std::string name;  // train or infer
  std::string model, checkpoint, data;
  std::optional<int> bits;
  std::optional<std::string> method;
  int64_t batch = 128;
  std::string engine = "float";  // of inference: integer, or empty for integer where the network can be one
  double seconds = 5;
  bool profile = false;
};

struct Problem {
  ModelSettings settings;
  std::unique_ptr<Model> model;
  std::optional<RunConfig> run;  // of a checkpoint of ours
  Tensor images, labels;
};

// Height and width of what the network was trained on or, with random weights, is made for.
int64_t side_of_images(const Problem& problem) {
  if (!problem.run) return model_input(problem.settings.name)[1];
  const DatasetInfo own = dataset_info(problem.run->data.name);
  return own.resized_side > 0 ? problem.run->data.image_size : own.height;
}

std::shared_ptr<const Dataset> open_data(const ModelBench& bench, const RunConfig& run) {
  const DataSpec spec = parse_data_spec(bench.data);
  return open_dataset(spec.name, resolve_data_root(spec.root, ""), Split::test,
                      {.pictures = dataset_options(run).pictures});
}

// The first images of the test split instead of random ones.
Problem with_data(Problem problem, const std::shared_ptr<const Dataset>& dataset, const ModelBench& bench) {
  require_channels(*problem.model, dataset->name(), dataset->channels());
  if (dataset->classes() > problem.settings.classes)
    fail(ErrorCategory::usage, "--data ", bench.data, ": has ", dataset->classes(), " classes, the network ",
         problem.settings.classes);
  if (const int64_t side = side_of_images(problem); dataset->height() != side || dataset->width() != side)
    fail(ErrorCategory::usage, "--data ", bench.data, ": has images of ", dataset->height(), " x ", dataset->width(),
         ", the network takes ", side, " x ", side);
  if (dataset->size() < bench.batch)
    fail(ErrorCategory::usage, "--batch ", bench.batch, ": ", dataset->name(), " has only ", dataset->size(),
         " test images");
  Loader loader(dataset, {.batch = bench.batch, .workers = 0});
  const auto batch = loader.next();
  problem.images = batch->images;
  problem.labels = batch->labels;
  return problem;
}

Problem with_random_weights(const ModelBench& bench, const Dataset* dataset) {
  const std::string name = bench.model.empty() ? "resnet20" : bench.model;
  ModelSettings settings{.name = name, .classes = model_input(name)[1] == 224 ? 1000 : 10, .quant = {}};
  if (dataset) settings.classes = dataset->classes();
  if (bench.method) settings.quant.method = parse_level_method(*bench.method);
  settings.quant.weight_bits = settings.quant.activation_bits = bench.bits.value_or(4);
  Problem problem{settings, make_model(settings), {}, {}, {}};
  Philox weights(1, RandomStream::weights);
  problem.model->initialize(weights);
  return problem;
}

Problem with_weights_of_file(const ModelBench& bench, bool quiet) {
  OpenedModel opened = open_model(bench.checkpoint, {bench.bits, bench.method}, quiet);
  if (!bench.model.empty() && bench.model != opened.settings.name)
    fail(ErrorCategory::usage, "--model ", bench.model, ": ", bench.checkpoint, " holds a ", opened.settings.name,
         "; leave --model out");
  return {opened.settings, std::move(opened.model), std::move(opened.run), {}, {}};
}

Problem make_problem(const ModelBench& bench, bool quiet) {
  Problem problem;
  std::shared_ptr<const Dataset> dataset;
  if (!bench.checkpoint.empty()) problem = with_weights_of_file(bench, quiet);
  if (!bench.data.empty()) dataset = open_data(bench, problem.run.value_or(RunConfig{}));
  if (bench.checkpoint.empty()) problem = with_random_weights(bench, dataset.get());
  if (dataset) return with_data(std::move(problem), dataset, bench);
  const Shape one = model_input(problem.settings.name);
  problem.images = Tensor({bench.batch, one[1], one[2], one[3]}, DType::f32);
  problem.labels = Tensor({bench.batch}, DType::s32);
  Philox images(1, RandomStream::bench);
  for (float& value : problem.images.data<float>()) value = static_cast<float>(images.normal());
  const auto classes = static_cast<uint32_t>(problem.settings.classes);
  for (int32_t& label : problem.labels.data<int32_t>()) label = static_cast<int32_t>(images.below(classes));
  return problem;
}

std::function<void()> training_step(const Problem& problem) {
  ParameterGroup group{.name = "all", .parameters = {}, .learning_rate = 0.01, .weight_decay = 1e-4};
  for (const auto& parameter : problem.model->parameters())
    group.parameters.push_back({parameter.name, *parameter.variable});
  const auto sgd = std::make_shared<Sgd>(std::vector{group}, 0.9);
  return [&problem, sgd] {
    cross_entropy(problem.model->forward(Variable(problem.images)), problem.labels).backward();
    sgd->step(1);
    sgd->clear_gradients();
  };
}

// Images lie on the device beforehand and logits stay there: what is measured is the network, not the copies.
std::function<void()> inference_step(const Problem& problem, ModelBench& bench, Device device, bool quiet) {
  problem.model->set_training(false);
  const Tensor images = problem.images.on(device);
  const auto wait = [device] {
    if (device != Device{}) cuda_device().synchronize();
  };
  std::shared_ptr<IntegerNetwork> network;
  if (bench.engine == "integer")
    network = compile(*problem.model, images.size(1), images.size(2), images.size(3), device);
  if (bench.engine.empty()) {
    std::string why_float;
    network = compile_if_possible(*problem.model, images.size(1), images.size(2), images.size(3), device, why_float);
    bench.engine = network ? "integer" : "float";
    if (!network && !quiet) std::cerr << "apotnet: computes in float: " << why_float << std::endl;
  }
  if (network) {
    return [images, network, wait] {
      network->run(images);
      wait();
    };
  }
  if (device != Device{}) problem.model->move_to(device);
  return [&problem, images, wait] {
    const NoGrad no_grad;
    problem.model->forward(Variable(images));
    wait();
  };
}

void print_rates(const ModelBench& bench, const Problem& problem, int threads, const Rates& rates, const Peaks& peaks,
                 const GlobalOptions& global) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const int64_t peak_mib = usage.ru_maxrss / 1024;
  if (global.json) {
    nlohmann::ordered_json line{{"name", "apotnet " + bench.name},
                                {"model", problem.settings.name},
                                {"weight_bits", problem.settings.quant.weight_bits},
                                {"activation_bits", problem.settings.quant.activation_bits},
                                {"engine", bench.engine},
                                {"batch", bench.batch},
                                {"threads", threads},
                                {"device", global.device},
                                {"images_per_second", rates.median},
                                {"min", rates.min},
                                {"max", rates.max},
                                {"repeats", rates.repeats},
                                {"peak_mib", peak_mib}};
    add_peaks(line, peaks);
    print_json(line);
  } else {
    std::cout << bench.name << " " << problem.settings.name << ", " << problem.settings.quant.weight_bits << " bits, "
              << (bench.name == "infer" ? bench.engine + " engine, " : "") << "batch " << bench.batch << ", "
              << (global.device == "cpu" ? text(threads, " threads") : global.device) << ": " << fixed(rates.median, 1)
              << " images/s (" << fixed(rates.min, 1) << " to " << fixed(rates.max, 1) << " over " << rates.repeats
              << " steps), peak memory " << peak_mib << " MiB\n";
  }
}

void run(ModelBench bench, const CommandContext& context) {
  const bool trains = bench.name == "train";
  const Compute compute =
      trains ? Compute{apply_compute_options(context.options), {}} : apply_device_options(context.options);
  const Problem problem = make_problem(bench, context.options.quiet);
  const auto step =
      trains ? training_step(problem) : inference_step(problem, bench, compute.device, context.options.quiet);
  const Peaks before = measure_peaks();
  const Rates rates = measure({static_cast<double>(bench.batch), step}, bench.seconds, [&] {
    if (bench.profile) profile_kernels(true);
  });
  print_rates(bench, problem, compute.threads, rates, mean_of(before, measure_peaks()), context.options);
  if (!bench.profile) return;
  for (const KernelTime& time : kernel_times())
    std::cerr << fixed(1000 * time.seconds / static_cast<double>(rates.repeats), 3) << " ms per step  " << time.name
              << '\n';
}

CLI::App* add(CLI::App& parent, CommandContext& context, const std::shared_ptr<ModelBench>& bench,
              const std::string& description) {
  CLI::App* command = parent.add_subcommand(bench->name, description);
  command->add_option("--model", bench->model, "Network (default: resnet20, or that of --checkpoint)")
      ->check(CLI::IsMember(model_names()));
  command->add_option("--bits", bench->bits, "Bit width, 2 to 8, or 32: float (default: 4, or that of --checkpoint)")
      ->check(CLI::IsMember({2, 3, 4, 5, 6, 7, 8, 32}));
  command->add_option("--method", bench->method, "Levels: apot (default), pot or uniform; or those of --checkpoint")
      ->check(CLI::IsMember({"apot", "pot", "uniform"}));
  command->add_option("--checkpoint", bench->checkpoint,
                      "Weights of a file, with --bits and --method where it does not say, in place of random ones");
  command->add_option("--data", bench->data, "Test images, as in cifar10:DIR, in place of random ones");
  command->add_option("--batch", bench->batch, "Images per step")->check(CLI::Range(1, 65536));
  command->add_option("--seconds", bench->seconds, "How long to measure")->check(number_between(0, 3600));
  command->add_flag("--profile", bench->profile, "Time per kernel, on stderr");
  if (bench->name == "train")
    add_compute_options(*command, context);
  else
    add_device_options(*command, context);
  command->footer("Example: ./apotnet bench " + bench->name + " --bits 4 --batch 128 --threads 1 --json");
  command->callback([bench, &context] { run(*bench, context); });
  return command;
}

}  // namespace

void add_bench_train(CLI::App& parent, CommandContext& context) {
  const auto bench = std::make_shared<ModelBench>();
  bench->name = "train";
  add(parent, context, bench, "Whole training steps, on random weights and images");
}

void add_bench_infer(CLI::App& parent, CommandContext& context) {
  const auto bench = std::make_shared<ModelBench>();
  bench->name = "infer";
  bench->engine.clear();
  add(parent, context, bench, "Evaluation, on random weights and images")
      ->add_option("--engine", bench->engine,
                   "integer (default where the codes of the network have 8 bits), or float: evaluation as in training")
      ->check(CLI::IsMember({"integer", "float"}));
}

}  // namespace apotnet
