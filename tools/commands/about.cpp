// version, doctor and test: what the program says of itself and of the machine.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/error.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/cpu/codes/codes_conv.h"
#include "core/kernels/cpu/loops.h"
#include "core/kernels/cuda/vendor_library.h"
#include "data/registry.h"
#include "tools/commands/command.h"
#include "tools/versions.h"

namespace apotnet {
namespace {

// Whether the CIFAR-10 files can be found without --data.
std::string find_cifar10() {
  try {
    return text("found, ", open_dataset("cifar10", resolve_data_root("", ""), Split::test)->size(), " test images");
  } catch (const Error& error) {
    return error.what();
  }
}

// The instruction set in use.
std::string instructions() {
  const Isa selected = selected_isa(), best = processor_isa();
  return selected == best ? text(name_of(best))
                          : text(name_of(selected), " by APOTNET_ISA; the processor has ", name_of(best));
}

// The convolutions of codes that this processor can run.
std::string kernel_names() {
  std::string names;
  for (const CodesConvKernel& kernel : codes_conv_kernels())
    if (kernel.isa <= selected_isa()) names += (names.empty() ? "" : ", ") + kernel.name;
  return names;
}

// The device, or why there is none.
std::string find_cuda() {
  try {
    return cuda_device().description();
  } catch (const Error& error) {
    return error.what();
  }
}

// Where a library of NVIDIA's lies, and its version; it is opened at the first use of --device cuda.
std::string found(const cuda::VendorLibrary& library) {
  if (!library.found()) return library.title() + " not found";
  const std::string version = library.version();
  return version.empty() ? library.path() : text(library.path(), ", ", version);
}

nlohmann::ordered_json findings() {
  return {{"cores", std::thread::hardware_concurrency()},
          {"instructions", instructions()},
          {"float_kernels", text(loops().name, "; convolutions by oneDNN")},
          {"integer_convolution", text("own kernels, in order of preference: ", kernel_names())},
          {"cuda", find_cuda()},
          {"cuda_driver", found(cuda::driver_library())},
          {"cudnn", found(cuda::cudnn_library())},
          {"cublas", found(cuda::cublas_library())},
          {"nccl", found(cuda::nccl_library()) + " (not needed: a run uses one device)"},
          {"cifar10", find_cifar10()}};
}

void print(const nlohmann::ordered_json& object, const char* command, bool json) {
  if (json) {
    nlohmann::ordered_json line{{"command", command}};
    line.update(object);
    return print_json(line);
  }
  for (const auto& [key, value] : object.items())
    std::printf("%-20s %s\n", key.c_str(), value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
}

}  // namespace

void add_version(CLI::App& app, CommandContext& context) {
  CLI::App* command = app.add_subcommand("version", "Versions of the program and of everything linked");
  command->footer("Example: ./apotnet version --json");
  command->callback([&context] { print(versions(), "version", context.options.json); });
}

void add_doctor(CLI::App& app, CommandContext& context) {
  CLI::App* command = app.add_subcommand("doctor", "What this machine can and cannot do");
  command->footer("Example: ./apotnet doctor");
  command->callback([&context] { print(findings(), "doctor", context.options.json); });
}

void add_test(CLI::App& app, CommandContext&) {
  const auto list = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("test", "Build and run all tests (through the launcher ./apotnet test)");
  command->add_flag("--list", *list, "Show the tests by name");
  command->footer("Example: ./apotnet test --list");
  command->callback([list] {
    // The launcher builds the tests first and does not come here; the bare program runs those already built.
    const std::filesystem::path build = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    std::vector<std::string> words{"ctest", "--test-dir", build.string(), "--output-on-failure"};
    if (*list) words.emplace_back("-N");
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp("ctest", arguments.data());
    fail(ErrorCategory::unavailable, "ctest not found; it comes with CMake: apt-get install cmake");
  });
}

}  // namespace apotnet
