#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/quant/level_set.h"
#include "core/quant/projection.h"
#include "tools/commands/command.h"

namespace apotnet {
namespace {

struct LevelsOptions {
  int bits = 4;
  std::string method = "apot";
  bool weights = false, plot = false;
};

// Plots show z in [0, 1.25] from left to right.
constexpr int kPlotColumns = 61;
constexpr double kPlotEnd = 1.25;

double plotted_z(int column) { return kPlotEnd * column / (kPlotColumns - 1); }

double projected(const LevelSet& set, double z) {
  const double clipped = std::min(z, 1.0);
  const int64_t half = half_steps(clipped, set.k(), set.ties_to_lower());
  return static_cast<double>(set.code_of_half_step(half)) / static_cast<double>(set.k());
}

double widest_gap(const LevelSet& set) {
  int64_t widest = 0;
  for (size_t i = 1; i < set.codes().size(); ++i) widest = std::max(widest, set.codes()[i] - set.codes()[i - 1]);
  return static_cast<double>(widest) / static_cast<double>(set.k());
}

// One mark per column where `mark` (and `ghost`, fainter) stand; rows from `high` down to `low`.
void print_plot(double low, double high, double step, const std::function<double(double)>& mark,
                const std::function<double(double)>& ghost) {
  const int rows = static_cast<int>(std::lround((high - low) / step));
  for (int row = 0; row <= rows; ++row) {
    const double value = high - row * step;
    std::string line(kPlotColumns, ' ');
    const auto is_here = [&](double y) { return std::lround((high - y) / step) == row; };
    for (int column = 0; column < kPlotColumns; ++column) {
      const double z = plotted_z(column);
      char& cell = line[static_cast<size_t>(column)];
      if (is_here(ghost(z))) cell = '.';
      if (is_here(mark(z))) cell = '#';
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::printf("%6.3f |%s\n", std::abs(value) < step / 2 ? 0.0 : value, line.c_str());
  }
  std::printf("       +%s\n        ", std::string(kPlotColumns, '-').c_str());
  for (const char* tick : {"0           ", "0.25        ", "0.5         ", "0.75        ", "1           ", "1.25"})
    std::printf("%s", tick);
  std::printf("  z\n");
}

// The staircase of the quantizer, and what of each element reaches the gradient of alpha (F6).
void plot_levels(const LevelSet& set) {
  const double nowhere = -1e9;
  std::printf("\nq, the level that z = |x| / alpha takes (dots: z itself)\n");
  print_plot(
      0, 1.25, 0.05, [&](double z) { return projected(set, z); }, [](double z) { return z; });
  std::printf("\ndvalue/dalpha = q - z up to z = 1 (and 1 beyond, where everything is alpha)\n");
  // The rounding is off by half the widest gap at most; ten rows for it on either side.
  const double bound = widest_gap(set) / 2;
  print_plot(
      -bound, bound, bound / 10, [&](double z) { return z > 1 ? nowhere : projected(set, z) - z; },
      [](double) { return 0.0; });
}

void run_levels(const LevelsOptions& options, const CommandContext& context) {
  const LevelMethod method = parse_level_method(options.method);
  const LevelSet& set =
      options.weights ? LevelSet::for_weights(method, options.bits) : LevelSet::for_activations(method, options.bits);
  const auto codes = set.codes();
  const auto k = static_cast<double>(set.k());
  // The level is nearest from the midpoint with its lower neighbour on.
  const auto from = [&](size_t i) { return i == 0 ? 0 : static_cast<double>(codes[i - 1] + codes[i]) / (2 * k); };
  if (context.options.json) {
    if (options.plot) fail(ErrorCategory::usage, "--plot draws text; use it without --json");
    nlohmann::ordered_json levels = nlohmann::ordered_json::array();
    for (size_t i = 0; i < codes.size(); ++i)
      levels.push_back({{"code", codes[i]},
                        {"value", static_cast<double>(codes[i]) / k},
                        {"from", from(i)},
                        {"sum", set.sum_of_powers(i)}});
    print_json({{"command", "levels"},
                {"method", options.method},
                {"bits", options.bits},
                {"magnitude_bits", set.magnitude_bits()},
                {"signed", options.weights},
                {"k", set.k()},
                {"levels", levels}});
    return;
  }
  std::printf("%s, %d bits, %s: %zu magnitudes, value = code / %lld%s\n\n", options.method.c_str(), options.bits,
              options.weights ? "weights" : "activations", codes.size(), static_cast<long long>(set.k()),
              options.weights ? ", with either sign" : "");
  std::printf("%8s  %-12s %-12s %s\n", "code", "value", "from", "sum of powers (before dividing by the largest)");
  for (size_t i = 0; i < codes.size(); ++i)
    std::printf("%8lld  %-12.8f %-12.8f %s\n", static_cast<long long>(codes[i]), static_cast<double>(codes[i]) / k,
                from(i), set.sum_of_powers(i).c_str());
  if (options.plot) plot_levels(set);
}

}  // namespace

void add_levels(CLI::App& app, CommandContext& context) {
  const auto options = std::make_shared<LevelsOptions>();
  CLI::App* command =
      app.add_subcommand("levels", "Print a level set: codes, values, thresholds, sums of powers of two");
  command->add_option("--bits", options->bits, "Bit width, 2 to 8 (default 4)")->check(CLI::Range(2, 8));
  command->add_option("--method", options->method, "apot, pot or uniform")
      ->check(CLI::IsMember({"apot", "pot", "uniform"}));
  command->add_flag("--weights", options->weights, "The set of weights (one bit is the sign) instead of activations");
  command->add_flag("--plot", options->plot, "Also draw the quantizer and the derivative of its clipping threshold");
  command->footer("Example: ./apotnet levels --bits 3 --method apot");
  command->callback([options, &context] { run_levels(*options, context); });
}

}  // namespace apotnet
