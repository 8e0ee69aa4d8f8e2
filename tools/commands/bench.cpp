#include "tools/commands/bench.h"

#include <CLI/CLI.hpp>

namespace apotnet {

void add_bench(CLI::App& app, CommandContext& context) {
  CLI::App* bench = app.add_subcommand("bench", "Speed of training, inference, data loading and single kernels");
  bench->require_subcommand(1);
  for (const auto add : {add_bench_train, add_bench_infer, add_bench_data, add_bench_kernels}) add(*bench, context);
  bench->footer("Example: ./apotnet bench train --bits 4 --batch 128 --threads 1 --json");
}

}  // namespace apotnet
