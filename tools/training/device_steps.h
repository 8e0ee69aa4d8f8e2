#pragma once

#include <map>
#include <memory>
#include <optional>
#include <utility>
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
/// repeated as a whole from then on, and what a step tells is read while the next one runs. Of a batch that is cut into
/// parts, a part of one size is recorded and takes the same room every time, and so is the update behind them.
class DeviceSteps {
 public:
  /// Model, optimizer and images outlive it and keep their addresses.
  DeviceSteps(Accelerator& device, Model& model, Sgd& optimizer, const ResidentImages& images, double label_smoothing);

  /// Begins a step; returns what the step before it left. Its images come in the parts that go through the network one
  /// after the other, each with its share in the gradients.
  std::optional<StepResult> step(const std::vector<Batch>& parts, double rate_factor);
  /// Waits for the step begun last, if its result has not been returned yet.
  std::optional<StepResult> finish();

 private:
  // A recorded part, or a whole step of one part, and the tensors that it reads and writes.
  struct Recorded {
    ResidentImages source;  // its own pixels or the whole data set
    Tensor placements, images, labels, loss, logits;
    std::unique_ptr<EarlyCopy> pixel_copy, label_copy, placement_copy;
    std::unique_ptr<RepeatedWork> work;
  };
  Recorded& recorded(const Batch& part, double share);
  void copy_in(const Batch& batch, Recorded& part);
  void run(Recorded& part, double share);
  void train(Recorded& part, double share);
  void make_totals();
  void add_gradients_to_totals();
  void update_by_totals();

  Accelerator& device_;
  Model& model_;
  Sgd& optimizer_;
  const ResidentImages& images_;
  double label_smoothing_;
  std::map<std::pair<int64_t, double>, Recorded> by_size_;  // in images, and share of the step

  // What the gradients of the parts add up to, by parameter; some parameters may have none.
  std::vector<Variable> parameters_;
  std::vector<Tensor> totals_;
  Tensor all_totals_;  // what totals_ are parts of
  std::vector<bool> has_total_;
  std::unique_ptr<RepeatedWork> update_;

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
  Late late_[2];
  size_t turn_ = 0;
  bool pending_ = false;
};

}  // namespace apotnet
