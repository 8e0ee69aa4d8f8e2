#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/kernels/accelerator.h"
#include "core/kernels/batch.h"
#include "data/loader.h"
#include "models/model.h"
#include "optim/sgd.h"

namespace apotnet {

/// Where a model computes.
Device device_of(Model& model);

/// A data set of images held in memory, copied to the device. Its batches come with placements in place of images.
ResidentImages make_resident(const Dataset& dataset, int pad, Device device);

/// What a step left behind.
struct StepResult {
  double loss = 0;
  int64_t correct = 0, count = 0;
  bool trouble = false;  ///< a kernel met an alpha, weights or a label that it cannot work with (accelerator.h)
};

/// Training steps of a model that lies on a device: batches are made there, the third step of a batch size is recorded
/// and repeated as a whole from then on, and what a step tells is read while the next one runs.
class DeviceSteps {
 public:
  /// Model, optimizer and images outlive it and keep their addresses.
  DeviceSteps(Accelerator& device, Model& model, Sgd& optimizer, const ResidentImages& images, double label_smoothing);

  /// Begins a step on a batch of placements; returns what the step before it left.
  std::optional<StepResult> step(const Batch& batch, double rate_factor);
  /// Waits for the step begun last, if its result has not been returned yet.
  std::optional<StepResult> finish();

 private:
  // What belongs to one batch size: the recorded step and the tensors that it reads and writes.
  struct Recorded {
    Tensor placements, images, labels, loss, logits;
    std::unique_ptr<RepeatedWork> work;
  };
  Recorded& recorded(const Batch& batch);
  void run(Recorded& step);

  Accelerator& device_;
  Model& model_;
  Sgd& optimizer_;
  const ResidentImages& images_;
  double label_smoothing_;
  std::map<int64_t, Recorded> by_size_;

  // The copies of a step and of the one before it take turns.
  struct Late {
    std::unique_ptr<LateCopy> loss, logits, trouble;
    Tensor labels;  // of the host
  };
  Late late_[2];
  size_t turn_ = 0;
  bool pending_ = false;
};

}  // namespace apotnet
