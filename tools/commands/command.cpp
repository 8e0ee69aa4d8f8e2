#include "tools/commands/command.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/call.h"
#include "core/kernels/cpu/codes/codes_conv.h"
#include "tools/json_text.h"

namespace apotnet {

void add_thread_option(CLI::App& command, CommandContext& context) {
  command.add_option("--threads", context.options.threads, "Threads to use (default: all of the machine)")
      ->check(CLI::Range(1, 256));
}

void add_device_options(CLI::App& command, CommandContext& context) {
  add_compute_options(command, context);
  command.get_option("--device")->group("Options");
}

void add_compute_options(CLI::App& command, CommandContext& context) {
  add_thread_option(command, context);
  command
      .add_option("--device", context.options.device, "cpu, or cuda where a CUDA device is, cuda:1 for the second one")
      ->group("");
  command
      .add_option("--kernels", context.options.kernels,
                  "fast (default), reference (the plain loops), or checked (both, compared at every call)")
      ->check(CLI::IsMember({"fast", "reference", "checked"}));
  command.add_option("--kernel", context.options.kernel,
                     "conv=NAME: use this kernel for convolutions of codes where it fits; doctor lists the names");
}

namespace {

void force_kernel(const std::string& choice) {
  constexpr std::string_view kFamily = "conv=";
  if (!choice.starts_with(kFamily))
    fail(ErrorCategory::usage, "--kernel ", choice, ": expected conv=NAME, as in conv=portable");
  force_codes_conv(choice.substr(kFamily.size()));
}

// The number of the device in cuda or cuda:NUMBER.
std::optional<int> cuda_number(std::string_view device) {
  if (device == "cuda") return 0;
  constexpr std::string_view kPrefix = "cuda:";
  if (!device.starts_with(kPrefix)) return {};
  device.remove_prefix(kPrefix.size());
  int number = 0;
  const auto [end, error] = std::from_chars(device.data(), device.data() + device.size(), number);
  if (error != std::errc() || end != device.data() + device.size() || number < 0) return {};
  return number;
}

}  // namespace

Compute apply_device_options(const GlobalOptions& options) {
  const std::optional<int> number = cuda_number(options.device);
  if (!number) return {apply_compute_options(options), {}};
  GlobalOptions host = options;
  host.device = "cpu";
  choose_cuda_device(*number);
  cuda_device();
  return {apply_compute_options(host), {DeviceType::cuda, 0}};
}

int apply_compute_options(const GlobalOptions& options) {
  if (cuda_number(options.device))
    fail(ErrorCategory::unavailable, "--device ", options.device,
         ": this command computes on the CPU only; use --device cpu");
  if (options.device != "cpu")
    fail(ErrorCategory::usage, "--device ", options.device,
         ": no such device; expected cpu, cuda or cuda:NUMBER, as in cuda:1");
  const int threads =
      options.threads > 0 ? options.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  set_thread_count(threads);
  if (!options.kernel.empty()) force_kernel(options.kernel);
  if (options.kernels == "reference") select_backend(Backend::reference);
  if (options.kernels == "checked") select_backend(Backend::checked);
  return threads;
}

CLI::Validator number_between(double low, double high) {
  const std::string range =
      high == std::numeric_limits<double>::infinity() ? text("from ", low) : text("from ", low, " to ", high);
  return {[=](const std::string& word) {
            double number = 0;
            const bool holds = CLI::detail::lexical_cast(word, number) && number >= low && number <= high;
            return holds ? std::string() : text(word, " is no number ", range);
          },
          range};
}

void print_json(const nlohmann::ordered_json& object) { std::cout << json_text(object) << std::endl; }

}  // namespace apotnet
