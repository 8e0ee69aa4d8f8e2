#pragma once

#include <string>
#include <vector>

namespace apotnet::cuda {

/// A device as cuDNN 9.8 and newer takes it in words (PlanLimits::device), to plan for it where there is none.
struct DescribedDevice {
  std::string name;            // "sm_90 H100"
  int compute_capability = 0;  // 900 for 9.0
  std::string json;
};

/// One of each generation whose processors differ for cuDNN: sm_80, 86, 89, 90, 100 and 120.
const std::vector<DescribedDevice>& described_devices();

}  // namespace apotnet::cuda
