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

/// What a device makes the images of `dataset` from: one that is held in memory is copied there, and batches bring
/// placements. Pictures are decoded for each batch anew: `images` and `labels` stay empty, and batches bring pixels.
ResidentImages make_resident(const Dataset& dataset, int pad, Device device);

/// What a step left behind.
struct StepResult {
  double loss_sum = 0;  ///< of all images
  int64_t correct = 0, count = 0;
  bool trouble = false;  ///< a kernel met an alpha, weights or a label that it cannot work with (accelerator.h)
};

/// Training steps of a model that lies on a device: images are made there, the step of a batch size is recorded and
/// repeated as a whole from then on, and what a step tells is read while the next one runs.
class DeviceSteps {
 public:
  /// Model, optimizer and images outlive it and keep their addresses.
  DeviceSteps(Accelerator& device, Model& model, Sgd& optimizer, const ResidentImages& images, double label_smoothing);

  /// Begins a step; returns what the step before it left. Its images come in the parts that go through the network one
  /// after the other, each with its share in the gradients; steps with as many images are cut into the same parts.
  std::optional<StepResult> step(const std::vector<Batch>& parts, double rate_factor);
  /// Waits for the step begun last, if its result has not been returned yet.
  std::optional<StepResult> finish();

 private:
  // The tensors that a part of a recorded step reads and writes, and the ways into them.
  struct Part {
    ResidentImages source;  // its own pixels or the whole data set
    Tensor placements, images, labels, loss, logits;
    std::unique_ptr<EarlyCopy> pixel_copy, label_copy, placement_copy;
  };
  // What belongs to one batch size.
  struct Recorded {
    std::vector<Part> parts;
    std::unique_ptr<RepeatedWork> work;
  };
  Recorded& recorded(const std::vector<Batch>& parts);
  void copy_in(const Batch& batch, Part& part);
  void run(Recorded& step);
  void train(Part& part, double share);

  Accelerator& device_;
  Model& model_;
  Sgd& optimizer_;
  const ResidentImages& images_;
  double label_smoothing_;
  std::map<int64_t, Recorded> by_size_;

  // The copies of a step and of the one before it take turns.
  struct LatePart {
    std::unique_ptr<LateCopy> loss, logits;
    Tensor labels;  // of the host
  };
  struct Late {
    std::vector<LatePart> parts;  // as many as any step had
    size_t count = 0;             // of this step
    std::unique_ptr<LateCopy> trouble;
  };
  void copy_out(const Recorded& step, const std::vector<Batch>& parts, Late& late);
  Late late_[2];
  size_t turn_ = 0;
  bool pending_ = false;
};

}  // namespace apotnet
