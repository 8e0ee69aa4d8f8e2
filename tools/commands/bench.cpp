#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/philox.h"
#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "deploy/compile.h"
#include "models/registry.h"
#include "optim/sgd.h"
#include "tools/commands/command.h"
#include "tools/fixed.h"

namespace apotnet {
namespace {

struct BenchOptions {
  std::string model = "resnet20";
  int bits = 4;
  int64_t batch = 128;
  double seconds = 5;
  bool profile = false;
  std::string engine = "integer";
};

// Images per second of one step after another, sorted.
std::vector<double> measure(const BenchOptions& options, const std::function<void()>& step) {
  using Clock = std::chrono::steady_clock;
  for (int warm_up = 0; warm_up < 2; ++warm_up) step();
  if (options.profile) profile_kernels(true);
  std::vector<double> rates;
  const auto start = Clock::now();
  while (rates.size() < 5 || std::chrono::duration<double>(Clock::now() - start).count() < options.seconds) {
    const auto before = Clock::now();
    step();
    rates.push_back(static_cast<double>(options.batch) / std::chrono::duration<double>(Clock::now() - before).count());
  }
  std::ranges::sort(rates);
  return rates;
}

void print_rates(const std::string& name, const BenchOptions& options, int threads, const std::vector<double>& rates,
                 bool json) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double median = rates[rates.size() / 2];
  const int64_t peak_mib = usage.ru_maxrss / 1024;
  if (json) {
    print_json({{"name", "apotnet " + name},
                {"model", options.model},
                {"weight_bits", options.bits},
                {"activation_bits", options.bits},
                {"batch", options.batch},
                {"threads", threads},
                {"device", "cpu"},
                {"images_per_second", median},
                {"min", rates.front()},
                {"max", rates.back()},
                {"repeats", rates.size()},
                {"peak_mib", peak_mib}});
  } else {
    std::cout << name << " " << options.model << ", " << options.bits << " bits, batch " << options.batch << ", "
              << threads << " threads: " << fixed(median, 1) << " images/s (" << fixed(rates.front(), 1) << " to "
              << fixed(rates.back(), 1) << " over " << rates.size() << " steps), peak memory " << peak_mib << " MiB\n";
  }
  if (!options.profile) return;
  const auto steps = static_cast<double>(rates.size());
  for (const KernelTime& time : kernel_times())
    std::cerr << fixed(1000 * time.seconds / steps, 3) << " ms per step  " << time.name << '\n';
}

void run_bench(const std::string& name, const BenchOptions& options, const CommandContext& context) {
  const int threads = apply_compute_options(context.options);
  ModelSettings settings{.name = options.model, .classes = 10, .quant = {}};
  settings.quant.weight_bits = settings.quant.activation_bits = options.bits;
  const auto model = make_model(settings);
  Philox weights(1, RandomStream::weights), images(1, RandomStream::bench);
  model->initialize(weights);
  Tensor x({options.batch, 32, 32, 3}, DType::f32), labels({options.batch}, DType::s32);
  for (float& value : x.data<float>()) value = static_cast<float>(images.normal());
  for (int32_t& label : labels.data<int32_t>()) label = static_cast<int32_t>(images.below(10));

  if (name == "train") {
    ParameterGroup group{.name = "all", .parameters = {}, .learning_rate = 0.01, .weight_decay = 1e-4};
    for (const auto& parameter : model->parameters()) group.parameters.push_back({parameter.name, *parameter.variable});
    Sgd sgd({group}, 0.9);
    const auto step = [&] {
      cross_entropy(model->forward(Variable(x)), labels).backward();
      sgd.step(1);
      sgd.clear_gradients();
    };
    print_rates(name, options, threads, measure(options, step), context.options.json);
  } else {
    model->set_training(false);
    const NoGrad no_grad;
    if (options.engine == "integer") {
      const auto network = compile(*model, 32, 32, 3);
      print_rates(name, options, threads, measure(options, [&] { network->run(x); }), context.options.json);
    } else {
      print_rates(name, options, threads, measure(options, [&] { model->forward(Variable(x)); }), context.options.json);
    }
  }
}

}  // namespace

void add_bench(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* bench = app.add_subcommand("bench", "Speed of training or inference, on random weights and images");
  bench->require_subcommand(1);
  for (const char* name : {"train", "infer"}) {
    CLI::App* command =
        bench->add_subcommand(name, name == std::string("train") ? "Whole training steps" : "Evaluation");
    command->add_option("--model", options->model, "Network")->check(CLI::IsMember(model_names()));
    command->add_option("--bits", options->bits, "Bit width, 2 to 8, or 32: float")
        ->check(CLI::IsMember({2, 3, 4, 5, 6, 7, 8, 32}));
    command->add_option("--batch", options->batch, "Images per step")->check(CLI::Range(1, 65536));
    command->add_option("--seconds", options->seconds, "How long to measure")->check(CLI::Range(0.0, 3600.0));
    if (name == std::string("infer"))
      command->add_option("--engine", options->engine, "integer (default) or float: evaluation as in training")
          ->check(CLI::IsMember({"integer", "float"}));
    command->add_flag("--profile", options->profile, "Time per kernel, on stderr");
    add_compute_options(*command, context);
    command->footer("Example: ./apotnet bench " + std::string(name) + " --bits 4 --batch 128 --threads 1 --json");
    command->callback([name = std::string(name), options, &context] { run_bench(name, *options, context); });
  }
  bench->footer("Example: ./apotnet bench train --bits 4 --batch 128 --threads 1 --json");
}

}  // namespace apotnet
