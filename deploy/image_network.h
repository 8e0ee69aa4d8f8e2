#pragma once

#include <memory>
#include <mutex>

#include "deploy/steps.h"

namespace apotnet {

/// The memory of one image on its way through the network.
struct NetworkMemory {
  std::vector<Tensor> planes;                   ///< f32 [1, H, W, C] or [1, C]
  std::vector<std::shared_ptr<Buffer>> frames;  ///< CodeFrame
};

/// One step of an integer network: writes some rows of its outputs. Rows of a step do not depend on each other.
class NetworkStep {
 public:
  virtual ~NetworkStep() = default;
  virtual int64_t rows() const { return 1; }
  /// Rows of one call; the last call may have fewer.
  virtual int64_t rows_per_call() const { return 1; }
  virtual void run(NetworkMemory& memory, int64_t first_row, int64_t rows) const = 0;
};
std::unique_ptr<NetworkStep> make_step(StepSettings settings);

/// On the CPU: several images go one per thread, a single one is cut by rows; the bits are the same.
class ImageNetwork : public IntegerNetwork {
 public:
  ImageNetwork(NetworkPlan plan, std::vector<StepSettings> steps);

  Tensor run(const Tensor& images) const override;
  std::vector<std::string> description() const override { return lines_; }

 private:
  void run_image(const float* image, NetworkMemory& memory, float* logits) const;
  std::unique_ptr<NetworkMemory> take_memory() const;

  std::vector<std::unique_ptr<NetworkStep>> steps_;
  std::vector<std::string> lines_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<NetworkMemory>> unused_;  // kept from former calls
};

}  // namespace apotnet
