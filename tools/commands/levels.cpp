#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/quant/level_set.h"
#include "tools/commands/command.h"

namespace apotnet {
namespace {

struct LevelsOptions {
  int bits = 4;
  std::string method = "apot";
  bool weights = false;
};

void run_levels(const LevelsOptions& options, const CommandContext& context) {
  const LevelMethod method = parse_level_method(options.method);
  const LevelSet& set =
      options.weights ? LevelSet::for_weights(method, options.bits) : LevelSet::for_activations(method, options.bits);
  const auto codes = set.codes();
  const auto k = static_cast<double>(set.k());
  if (context.options.json) {
    nlohmann::ordered_json levels = nlohmann::ordered_json::array();
    for (size_t i = 0; i < codes.size(); ++i)
      levels.push_back(
          {{"code", codes[i]}, {"value", static_cast<double>(codes[i]) / k}, {"sum", set.sum_of_powers(i)}});
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
  for (size_t i = 0; i < codes.size(); ++i) {
    // The level is nearest from the midpoint with its lower neighbour on.
    const double from = i == 0 ? 0 : static_cast<double>(codes[i - 1] + codes[i]) / (2 * k);
    std::printf("%8lld  %-12.8f %-12.8f %s\n", static_cast<long long>(codes[i]), static_cast<double>(codes[i]) / k,
                from, set.sum_of_powers(i).c_str());
  }
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
  command->footer("Example: ./apotnet levels --bits 3 --method apot");
  command->callback([options, &context] { run_levels(*options, context); });
}

}  // namespace apotnet
