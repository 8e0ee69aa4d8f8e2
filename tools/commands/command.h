#pragma once

#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/tensor/device.h"

namespace CLI {
class App;
class Validator;
}  // namespace CLI

namespace apotnet {

/// Options that every command takes.
struct GlobalOptions {
  bool json = false;
  bool quiet = false;
  std::string color = "auto";  ///< auto, always or never
  int threads = 0;             ///< 0: all of the machine
  std::string device = "cpu";
  std::string kernel;            ///< conv=NAME: this convolution of codes wherever it fits
  std::string kernels = "fast";  ///< fast, reference, or checked: both side by side, compared at every call
};

/// What a command leaves behind for main: its exit code, set by the callback that CLI11 runs.
struct CommandContext {
  GlobalOptions options;
  std::vector<std::string> command_line;
  int exit_code = 0;
};

// One function per command, each in its own file: declares the options and what to run.
void add_train(CLI::App& app, CommandContext& context);
void add_eval(CLI::App& app, CommandContext& context);
void add_infer(CLI::App& app, CommandContext& context);
void add_convert(CLI::App& app, CommandContext& context);
void add_inspect(CLI::App& app, CommandContext& context);
void add_levels(CLI::App& app, CommandContext& context);
void add_report(CLI::App& app, CommandContext& context);
void add_data(CLI::App& app, CommandContext& context);
void add_config(CLI::App& app, CommandContext& context);
void add_bench(CLI::App& app, CommandContext& context);
void add_test(CLI::App& app, CommandContext& context);
void add_version(CLI::App& app, CommandContext& context);
void add_doctor(CLI::App& app, CommandContext& context);

/// Adds --threads.
void add_thread_option(CLI::App& command, CommandContext& context);
/// Adds --threads, --kernels and --kernel to a command that computes on the CPU; its --device knows only that and is
/// not shown.
void add_compute_options(CLI::App& command, CommandContext& context);
/// The same for one that can use a device.
void add_device_options(CLI::App& command, CommandContext& context);
/// What a command computes with.
struct Compute {
  int threads = 1;
  Device device;
};
/// Applies them to a command that computes on the CPU alone, and returns the number of threads; or to one that can use
/// a device. Error(unavailable) for a device that is not there.
int apply_compute_options(const GlobalOptions& options);
Compute apply_device_options(const GlobalOptions& options);

/// For an option with a number from `low` to `high`; no NaN.
CLI::Validator number_between(double low, double high = std::numeric_limits<double>::infinity());

/// Prints one JSON object as a line on stdout.
void print_json(const nlohmann::ordered_json& object);

}  // namespace apotnet
