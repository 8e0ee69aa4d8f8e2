// bench data: images per second of the loader with the augmentation of the recipe.
#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "data/loader.h"
#include "data/registry.h"
#include "tools/bench/measure.h"
#include "tools/commands/bench.h"
#include "tools/fixed.h"

namespace apotnet {
namespace {

struct DataBench {
  std::string data = "shapes10";
  int64_t batch = 128;
  double seconds = 3;
};

void run(const DataBench& bench, const CommandContext& context) {
  const int threads = apply_compute_options(context.options);
  const auto start = std::chrono::steady_clock::now();
  const DataSpec spec = parse_data_spec(bench.data);
  const auto dataset = open_dataset(spec.name, resolve_data_root(spec.root, ""), Split::train);
  const double open_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  const bool pictures = dataset->info().resized_side > 0;
  const Augmentation augmentation =
      pictures ? Augmentation{.pad = 0, .flip = true, .cut = Cut::random_crop} : Augmentation{.pad = 4, .flip = true};
  // Whole epochs, so that shuffling and the start of the threads count. One thread is the caller's own.
  int64_t epoch = 0;
  const auto one_epoch = [&] {
    const LoaderOptions options{.batch = bench.batch,
                                .shuffle = true,
                                .augmentation = augmentation,
                                .seed = 1,
                                .workers = threads == 1 ? 0 : threads};
    Loader loader(dataset, options, {.epoch = epoch++});
    while (loader.next()) continue;
  };
  const Rates rates = measure({static_cast<double>(dataset->size()), one_epoch}, bench.seconds);
  if (context.options.json) {
    print_json({{"name", "apotnet data"},
                {"model", nullptr},
                {"weight_bits", nullptr},
                {"activation_bits", nullptr},
                {"dataset", dataset->name()},
                {"count", dataset->size()},
                {"augment", {pictures ? "random_crop" : "pad_crop", "flip"}},
                {"batch", bench.batch},
                {"threads", threads},
                {"device", "cpu"},
                {"images_per_second", rates.median},
                {"images_per_second_per_thread", rates.median / threads},
                {"min", rates.min},
                {"max", rates.max},
                {"repeats", rates.repeats},
                {"open_seconds", open_seconds}});
  } else {
    std::cout << "data " << dataset->name() << ", " << dataset->size() << " images, crop and flip, batch "
              << bench.batch << ", " << threads << " threads: " << fixed(rates.median, 0) << " images/s, "
              << fixed(rates.median / threads, 0) << " per thread (" << fixed(rates.min, 0) << " to "
              << fixed(rates.max, 0) << " over " << rates.repeats << " epochs); opened in " << fixed(open_seconds, 2)
              << " s\n";
  }
}

}  // namespace

void add_bench_data(CLI::App& parent, CommandContext& context) {
  const auto bench = std::make_shared<DataBench>();
  CLI::App* command = parent.add_subcommand("data", "The loader: shuffle, crop, flip, normalise");
  command->add_option("--data", bench->data, "Data: a folder, or name:folder as in cifar10:DIR, or shapes10 (default)");
  command->add_option("--batch", bench->batch, "Images per batch")->check(CLI::Range(1, 65536));
  command->add_option("--seconds", bench->seconds, "How long to measure")->check(number_between(0, 3600));
  add_thread_option(*command, context);
  command->footer("Example: ./apotnet bench data --data cifar10:cifar-10-batches-bin --threads 1 --json");
  command->callback([bench, &context] { run(*bench, context); });
}

}  // namespace apotnet
