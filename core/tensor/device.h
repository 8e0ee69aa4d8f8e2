#pragma once

namespace apotnet {

enum class DeviceType { cpu, cuda };

/// Where a tensor lives.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

}  // namespace apotnet
