#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "core/kernels/accelerator.h"
#include "deploy/steps.h"

namespace apotnet {

/// What a batch of images needs on its way, at fixed addresses.
struct BatchMemory {
  std::vector<Tensor> planes;  ///< f32 [N, H, W, C] or [N, C]
  std::vector<Tensor> codes;   ///< u8, or s8 where they have a sign, [N, H, W, C rounded up to 16]

  BatchMemory(const NetworkPlan& plan, int64_t size, Device device);
};

/// The steps through the contract (core/kernels/codes.h), with their constants on `device`.
using BatchStep = std::function<void(BatchMemory& memory)>;
std::vector<BatchStep> make_batch_steps(const std::vector<StepSettings>& steps, Device device);

/// The network for a whole batch at a time on a device. The steps are those of the CPU: the codes and sums are the same
/// integers, the floats between them the same bits; the ends are the float kernels of the device. On a device besides
/// the CPU the steps of a batch size are recorded (RepeatedWork) and repeated as a whole.
class BatchNetwork : public IntegerNetwork {
 public:
  BatchNetwork(NetworkPlan plan, const std::vector<StepSettings>& steps, Device device);

  /// Images and logits lie both on the CPU or both on the device.
  Tensor run(const Tensor& images) const override;
  std::vector<std::string> description() const override { return lines_; }

 private:
  struct Batch {
    int64_t size;
    BatchMemory memory;
    std::unique_ptr<RepeatedWork> work;  // null: step by step
  };
  Batch& batch_of(int64_t size) const;

  const Device device_;
  std::vector<BatchStep> steps_;
  std::vector<std::string> lines_;
  mutable std::mutex mutex_;
  mutable std::list<Batch> batches_;  // the latest first
};

}  // namespace apotnet
