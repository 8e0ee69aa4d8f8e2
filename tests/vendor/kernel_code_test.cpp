// What nvcc has made of our kernels: the registers and shared memory of each, how many of its threads a multiprocessor
// holds, and the instructions that decide speed. No device is needed.
#include <cuda_occupancy.h>
#include <doctest/doctest.h>

#include <climits>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/base/error.h"
#include "tests/support/files.h"
#include "tests/vendor/described_device.h"
#include "tests/vendor/kernel_code.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const std::string kTable = "tests/vendor/kernel_resources.md";
constexpr int kThreads = 256;  // launch.h

bool skipped() {
  if (can_read_kernels()) return false;
  std::printf("skipped: cuobjdump is not installed (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm)\n");
  return true;
}

cudaOccDeviceProp properties_of(const std::string& architecture) {
  const int version = 10 * std::stoi(architecture.substr(3));
  for (const cuda::DescribedDevice& device : cuda::described_devices()) {
    if (device.compute_capability != version) continue;
    const auto sheet = nlohmann::json::parse(device.json);
    const size_t reserved = sheet["reservedSharedMemoryPerBlock"], shared = sheet["maxSharedMemoryPerBlockOptin"];
    cudaOccDeviceProp properties;
    properties.computeMajor = version / 100;
    properties.computeMinor = version / 10 % 10;
    properties.maxThreadsPerBlock = sheet["maxThreadsPerBlock"];
    properties.maxThreadsPerMultiprocessor = sheet["maxThreadsPerSM"];
    properties.regsPerBlock = sheet["regsPerBlock"];
    properties.regsPerMultiprocessor = sheet["maxRegistersPerSM"];
    properties.warpSize = sheet["warpSize"];
    properties.sharedMemPerBlock = sheet["maxSharedMemoryPerBlock"];
    properties.sharedMemPerMultiprocessor = shared + reserved;
    properties.numSms = sheet["multiProcessorCount"];
    properties.sharedMemPerBlockOptin = shared;
    properties.reservedSharedMemPerBlock = reserved;
    return properties;
  }
  fail(ErrorCategory::internal, "no device is described for ", architecture);
}

// The share of a multiprocessor's threads that blocks of the kernel can fill, in per cent.
int occupancy(const KernelCode& kernel) {
  const cudaOccDeviceProp properties = properties_of(kernel.architecture);
  cudaOccFuncAttributes attributes;
  attributes.maxThreadsPerBlock = INT_MAX;
  attributes.numRegs = kernel.registers;
  attributes.sharedSizeBytes = static_cast<size_t>(kernel.shared);
  attributes.numBlockBarriers = 1;
  const cudaOccDeviceState state;
  cudaOccResult result{};
  REQUIRE(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &attributes, &state, kThreads, 0) ==
          CUDA_OCC_SUCCESS);
  return 100 * kThreads * result.activeBlocksPerMultiprocessor / properties.maxThreadsPerMultiprocessor;
}

std::string table_of(const std::vector<KernelCode>& kernels) {
  const auto older = [](const std::string& a, const std::string& b) {
    return std::stoi(a.substr(3)) < std::stoi(b.substr(3));
  };
  std::set<std::string, decltype(older)> architectures;
  std::map<std::string, std::map<std::string, const KernelCode*>> rows;
  for (const KernelCode& kernel : kernels) {
    architectures.insert(kernel.architecture);
    rows[kernel.name][kernel.architecture] = &kernel;
  }
  std::string table =
                  text("nvcc ", APOTNET_NVCC_VERSION,
                       ": registers of a thread, shared memory of a block of 256 threads in bytes, and the share of "
                       "a multiprocessor's threads that such blocks fill.\n\n| kernel |"),
              line = "\n|---|";
  for (const std::string& architecture : architectures) {
    table += text(" ", architecture, ": registers | shared | threads, % |");
    line += "---|---|---|";
  }
  table += line + "\n";
  for (const auto& [name, row] : rows) {
    table += "| `" + name + "` |";
    for (const std::string& architecture : architectures) {
      const auto found = row.find(architecture);
      if (found == row.end())
        table += " | | |";
      else
        table +=
            text(" ", found->second->registers, " | ", found->second->shared, " | ", occupancy(*found->second), " |");
    }
    table += "\n";
  }
  return table;
}

std::set<std::string> lines_of(const std::string& content) {
  std::istringstream in(content);
  std::set<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

// Lines of `a` that `b` lacks.
std::string missing(const std::set<std::string>& a, const std::set<std::string>& b) {
  std::string lines;
  for (const std::string& line : a)
    if (!b.contains(line)) lines += line + "\n";
  return lines.empty() ? "(none)\n" : lines;
}

// Kernels by the beginning of their names, and instructions that each of them must have on every architecture: accesses
// of 16 bytes, products of matrices. A kernel that is to be fast gets a row here.
struct Requirement {
  std::string kernels;
  std::vector<std::string> instructions;
};
const Requirement kRequirements[] = {
    {"batch.cu gather_kernel", {"LDG.E.128"}},
    {"convolve.cu convolve_kernel<", {"IMMA", "LDG.E.128"}},
    {"quantize_convolve.cu quantize_convolve_kernel<", {"IMMA", "LDG.E.128"}},
    {"forward_chain.cu forward_chain_kernel", {"IMMA", "LDG.E.128", "STG.E.128"}},
    {"gradient_chain.cu gradient_chain_kernel", {"HMMA", "LDG.E.128", "STG.E.128"}},
    {"quantize_convolve.cu quantize_convolve_kernel<32,", {"STG.E.128"}},
    {"quantize_convolve.cu quantize_convolve_kernel<64,", {"STG.E.128"}},
    {"evaluate.cu evaluate_kernel<8>", {"LDG.E.128"}},
    {"input_gradient.cu input_gradient_kernel<", {"HMMA", "LDG.E.128"}},
    {"value_gradient.cu value_gradient_kernel<8,", {"LDG.E.128"}},
    {"value_gradient.cu norm_input_gradient_kernel<8>", {"LDG.E.128", "STG.E.128"}},
    {"weight_gradient.cu weight_gradient_kernel", {"HMMA", "LD.E.128"}},
    {"weight_gradient_end.cu quantizer_gradient_kernel<4>", {"LDG.E.128", "STG.E.128"}},
    {"weights.cu codes_kernel<4>", {"LDG.E.128"}},
    {"elementwise.cu map_kernel<4,", {"LDG.E.128", "STG.E.128"}},
    {"elementwise.cu widen_kernel<4, signed char>", {"STG.E.128"}},
    {"elementwise.cu widen_kernel<4, unsigned char>", {"STG.E.128"}},
    {"norm.cu normalise_kernel<4, PlainOut>", {"LDG.E.128", "STG.E.128"}},
    {"norm.cu normalise_kernel<4, ReluOut>", {"LDG.E.128", "STG.E.128"}},
    {"norm.cu normalise_kernel<4, AddReluOut>", {"LDG.E.128", "STG.E.128"}},
    {"norm.cu normalise_kernel<4, QuantizeOut<", {"LDG.E.128"}},
    {"norm_backward.cu apply_gradient_kernel<4,", {"LDG.E.128", "STG.E.128"}},
    {"norm_backward.cu channel_sums_kernel<4,", {"LDG.E.128"}},
    {"quantize.cu quantize_kernel<4,", {"LDG.E.128"}},
    {"quantize.cu quantize_kernel<4, float,", {"STG.E.128"}},
    {"quantize.cu total_sums_kernel<4,", {"LDG.E.128"}},
    {"quantize.cu total_sums_kernel<4, SignedGradient", {"STG.E.128"}},
    {"quantize.cu total_sums_kernel<4, UnsignedGradient", {"STG.E.128"}},
    {"statistics.cu channel_sums_kernel<4, StatisticsTerm<4, false>", {"LDG.E.128"}},
    {"statistics.cu channel_sums_kernel<4, StatisticsTerm<4, true>", {"LDG.E.128", "STG.E.128"}},
    {"statistics.cu channel_sums_kernel<4, SumTerm<4>", {"LDG.E.128"}},
    {"weight_norm.cu standardise_kernel<4>", {"LDG.E.128", "STG.E.128"}},
    {"weight_norm.cu standardise_gradient_kernel<4>", {"LDG.E.128", "STG.E.128"}},
    {"weight_norm.cu total_sums_kernel<4,", {"LDG.E.128"}},
};

// Memory of a thread outside registers, and arithmetic that most devices have at a 32nd or 64th of the rate.
const std::vector<std::string> kForbidden = {"LDL", "STL", "DADD", "DMUL", "DFMA", "DSETP", "DMNMX", "DMMA"};

}  // namespace

TEST_CASE("kernels: registers, shared memory and occupancy are those of the table") {
  if (skipped()) return;
  const std::vector<KernelCode> kernels = built_kernels(false);
  CHECK(kernels.size() > 100);
  for (const KernelCode& kernel : kernels) {
    CAPTURE(kernel.name);
    CAPTURE(kernel.architecture);
    CHECK(kernel.registers > 0);
    CHECK(kernel.stack == 0);
    CHECK(kernel.local == 0);
    CHECK(kernel.shared <= 48 << 10);
    CHECK(occupancy(kernel) > 0);
  }
  const std::string now = table_of(kernels), committed = read_text(kTable);
  if (const char* path = std::getenv("APOTNET_KERNEL_TABLE")) return write_text(path, now);
  const auto head = [](const std::string& content) { return content.substr(0, content.find("\n|---")); };
  if (head(committed) != head(now)) {
    // Not the word that would make CTest overlook what failed above.
    std::printf("not compared: %s is of another nvcc or other architectures than this build\n", kTable.c_str());
    return;
  }
  const auto expected = lines_of(committed), found = lines_of(now);
  const bool same = committed == now;
  CHECK_MESSAGE(same, "not as in ", kTable, "; in the table alone:\n", missing(expected, found),
                "in this build alone:\n", missing(found, expected),
                "with APOTNET_KERNEL_TABLE=FILE this test writes the table anew");
}

TEST_CASE("kernels: wide accesses and matrix products where they matter, no local memory, no double arithmetic") {
  if (skipped()) return;
  const std::vector<KernelCode> kernels = built_kernels(true);
  for (const KernelCode& kernel : kernels) {
    CAPTURE(kernel.name);
    CAPTURE(kernel.architecture);
    CHECK(kernel.has("EXIT"));
    for (const std::string& instruction : kForbidden) {
      CAPTURE(instruction);
      CHECK_FALSE(kernel.has(instruction));
    }
  }
  for (const auto& [beginning, instructions] : kRequirements) {
    CAPTURE(beginning);
    int matches = 0;
    for (const KernelCode& kernel : kernels) {
      if (!kernel.name.starts_with(beginning)) continue;
      CAPTURE(kernel.name);
      CAPTURE(kernel.architecture);
      ++matches;
      for (const std::string& instruction : instructions) {
        CAPTURE(instruction);
        CHECK(kernel.has(instruction));
      }
    }
    CHECK_MESSAGE(matches > 0, "no kernel has this name");
  }
}
