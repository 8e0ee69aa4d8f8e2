#include "tests/vendor/described_device.h"

#include "core/base/error.h"

namespace apotnet::cuda {
namespace {

// What differs between devices; the rest is the same for all of them.
struct Sheet {
  const char* name;
  int version;     // 10 x compute capability x 10
  int64_t memory;  // bytes
  int multiprocessors;
  int shared_memory;        // bytes that a block can have
  int blocks, threads;      // of a multiprocessor
  int clock, memory_clock;  // kHz
  int cache;                // bytes, level 2
};

constexpr Sheet kSheets[] = {
    {"NVIDIA A100-SXM4-80GB", 800, 85198045184, 108, 166912, 32, 2048, 1410000, 1593000, 41943040},
    {"NVIDIA GeForce RTX 3090", 860, 25438126080, 82, 101376, 16, 1536, 1695000, 9751000, 6291456},
    {"NVIDIA GeForce RTX 4090", 890, 25386352640, 128, 101376, 24, 1536, 2520000, 10501000, 75497472},
    {"NVIDIA H100 80GB HBM3", 900, 85520809984, 132, 232448, 32, 2048, 1980000, 2619000, 52428800},
    {"NVIDIA B200", 1000, 191514607616, 148, 232448, 32, 2048, 1965000, 3996000, 132644864},
    {"NVIDIA GeForce RTX 5090", 1200, 33661911040, 170, 101376, 24, 1536, 2407000, 14001000, 100663296},
};

DescribedDevice describe(const Sheet& sheet) {
  return {text("sm_", sheet.version / 10, " ", sheet.name), sheet.version,
          text(R"({"deviceVer":)", sheet.version, R"(,"driverVer":13000,"cudaDeviceId":0,"deviceName":")", sheet.name,
               R"(","totalGlobalMem":)", sheet.memory,
               R"(,"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536)",
               R"(,"multiProcessorCount":)", sheet.multiprocessors, R"(,"warpSize":32,"maxSharedMemoryPerBlock":49152)",
               R"(,"maxSharedMemoryPerBlockOptin":)", sheet.shared_memory,
               R"(,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":)", sheet.blocks,
               R"(,"maxThreadsPerBlock":1024,"maxThreadsPerSM":)", sheet.threads,
               R"(,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,"smClockRateKHz":)", sheet.clock,
               R"(,"memClockRateKHz":)", sheet.memory_clock, R"(,"l2CacheSize":)", sheet.cache, "}")};
}

}  // namespace

const std::vector<DescribedDevice>& described_devices() {
  static const std::vector<DescribedDevice> devices = [] {
    std::vector<DescribedDevice> all;
    for (const Sheet& sheet : kSheets) all.push_back(describe(sheet));
    return all;
  }();
  return devices;
}

}  // namespace apotnet::cuda
