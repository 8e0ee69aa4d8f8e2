// bench kernels: single convolutions of a ResNet on one thread, ours and oneDNN's in turn.
#include <CLI/CLI.hpp>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/parallel.h"
#include "tools/bench/calibration.h"
#include "tools/bench/kernel_problem.h"
#include "tools/bench/measure.h"
#include "tools/commands/bench.h"
#include "tools/fixed.h"

namespace apotnet {
namespace {

struct KernelsBench {
  int64_t batch = 128;
  double seconds = 0.2;
  std::string shape;  // empty: all
};

// The float forward runs beside the codes of each width, the backward passes by themselves.
bool takes_part(const KernelContestant& contestant, int bits) {
  return bits < 32 ? contestant.task == KernelTask::codes || contestant.task == KernelTask::forward
                   : contestant.task == KernelTask::backward_input || contestant.task == KernelTask::backward_weight;
}

void print_row(const KernelContestant& contestant, const KernelProblem& problem, int bits, const Rates& rates,
               const Peaks& peaks, bool json) {
  const std::optional<double> peak = contestant.task == KernelTask::codes ? peaks.integers() : peaks.fma;
  // Fastest against fastest: a neighbour's load moves the medians of the two by different amounts.
  const double of_peak = rates.max / peak.value_or(NAN);  // NaN is null in JSON
  const int width = contestant.task == KernelTask::codes ? bits : 32;
  if (json) {
    const double images = 1e9 / static_cast<double>(problem.shape.products());  // of 10^9 products
    nlohmann::ordered_json line{{"name", contestant.name},
                                {"model", nullptr},
                                {"shape", problem.shape.name},
                                {"task", name_of(contestant.task)},
                                {"weight_bits", width},
                                {"activation_bits", width},
                                {"beside_bits", bits},
                                {"batch", problem.batch},
                                {"threads", 1},
                                {"device", "cpu"},
                                {"images_per_second", rates.median * images},
                                {"min", rates.min * images},
                                {"max", rates.max * images},
                                {"repeats", rates.repeats},
                                {"gmacs", rates.median},
                                {"of_peak", of_peak}};
    add_peaks(line, peaks);
    print_json(line);
  } else {
    std::cout << std::left << std::setw(30) << problem.shape.name << std::setw(29) << contestant.name << std::right
              << std::setw(4) << width << std::setw(9) << fixed(rates.median, 1) << std::setw(9) << fixed(rates.min, 1)
              << std::setw(9) << fixed(rates.max, 1) << std::setw(9) << (peak ? fixed(100 * of_peak, 0) + " %" : "-")
              << std::endl;
  }
}

void run_group(const KernelsBench& bench, const KernelShape& shape, int bits, bool json) {
  const KernelProblem problem = KernelProblem::make(shape, bits, bench.batch);
  std::vector<const KernelContestant*> contestants;
  std::vector<TimedWork> works;
  for (const KernelContestant& contestant : kernel_contestants()) {
    if (!takes_part(contestant, bits) || !contestant.takes(problem)) continue;
    check_contestant(contestant, shape, bits);
    contestants.push_back(&contestant);
    works.push_back({static_cast<double>(bench.batch * shape.products()) * 1e-9, contestant.prepare(problem).run});
  }
  const Peaks before = measure_peaks();
  const std::vector<Rates> rates = measure_in_turn(works, bench.seconds);
  const Peaks peaks = mean_of(before, measure_peaks());
  for (size_t i = 0; i < rates.size(); ++i) print_row(*contestants[i], problem, bits, rates[i], peaks, json);
}

void run(const KernelsBench& bench, const CommandContext& context) {
  set_thread_count(1);
  if (!context.options.json)
    std::cout << std::left << std::setw(30) << "shape" << std::setw(29) << "kernel" << std::right << std::setw(4)
              << "bits" << std::setw(9) << "GMAC/s" << std::setw(9) << "min" << std::setw(9) << "max" << std::setw(9)
              << "of peak" << std::endl;
  for (const KernelShape& shape : kernel_shapes())
    for (const int bits : {4, 3, 2, 32})
      if (bench.shape.empty() || bench.shape == shape.name) run_group(bench, shape, bits, context.options.json);
}

}  // namespace

void add_bench_kernels(CLI::App& parent, CommandContext& context) {
  const auto bench = std::make_shared<KernelsBench>();
  std::vector<std::string> names;
  for (const KernelShape& shape : kernel_shapes()) names.push_back(shape.name);
  CLI::App* command = parent.add_subcommand(
      "kernels",
      "Convolutions by oneDNN and by our own kernels, in turn on one thread, checked before they are timed; of "
      "peak: the fastest run against the fastest the processor multiplies");
  command->add_option("--batch", bench->batch, "Images")->check(CLI::Range(1, 65536));
  command->add_option("--seconds", bench->seconds, "How long to measure, for every line")
      ->check(number_between(0, 3600));
  command->add_option("--shape", bench->shape, "Only this shape")->check(CLI::IsMember(names));
  command->footer("Example: ./apotnet bench kernels --shape 16x32x32");
  command->callback([bench, &context] { run(*bench, context); });
}

}  // namespace apotnet
