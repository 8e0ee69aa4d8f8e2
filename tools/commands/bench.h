#pragma once

#include "tools/commands/command.h"

namespace apotnet {

// The kinds of bench, each in its own file.
void add_bench_train(CLI::App& bench, CommandContext& context);
void add_bench_infer(CLI::App& bench, CommandContext& context);
void add_bench_data(CLI::App& bench, CommandContext& context);
void add_bench_kernels(CLI::App& bench, CommandContext& context);

}  // namespace apotnet
