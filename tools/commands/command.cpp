#include "tools/commands/command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/call.h"
#include "core/kernels/cpu/codes/codes_conv.h"

namespace apotnet {

void add_compute_options(CLI::App& command, CommandContext& context) {
  command.add_option("--threads", context.options.threads, "Threads to use (default: all of the machine)")
      ->check(CLI::Range(1, 256));
  command.add_option("--device", context.options.device,
                     "cpu, or cuda where a CUDA device is (train, eval, bench infer)");
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

}  // namespace

Compute apply_device_options(const GlobalOptions& options) {
  if (options.device != "cuda") return {apply_compute_options(options), {}};
  GlobalOptions host = options;
  host.device = "cpu";
  cuda_device();
  return {apply_compute_options(host), {DeviceType::cuda, 0}};
}

int apply_compute_options(const GlobalOptions& options) {
  if (options.device != "cpu")
    fail(options.device.starts_with("cuda") ? ErrorCategory::unavailable : ErrorCategory::usage, "--device ",
         options.device, ": ",
         options.device == "cuda" ? "this command computes on the CPU only" : "no such device; expected cpu or cuda",
         "; use --device cpu");
  const int threads =
      options.threads > 0 ? options.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  set_thread_count(threads);
  if (!options.kernel.empty()) force_kernel(options.kernel);
  if (options.kernels == "reference") select_backend(Backend::reference);
  if (options.kernels == "checked") select_backend(Backend::checked);
  return threads;
}

void print_json(const nlohmann::ordered_json& object) {
  // A NaN becomes null: every line stays valid JSON.
  std::cout << object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
}

}  // namespace apotnet
