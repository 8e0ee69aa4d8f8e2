#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/kernels/cpu/codes/codes_conv.h"
#include "deploy/thresholds.h"

namespace apotnet {

/// The memory of one image on its way through the network: float planes and frames of codes.
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
  /// One line: what it computes, with which kernel.
  virtual std::string description() const = 0;
};

/// A trained network as integers: codes in, convolution to exact sums, thresholds, codes out; identity shortcuts and
/// the two ends are float. Its logits are those of evaluation, bit for bit. Made by lower() (deploy/lower.h).
class IntegerNetwork {
 public:
  struct Plan {
    Shape input;                ///< [1, H, W, C]
    std::vector<Shape> planes;  ///< the first holds the input image
    std::vector<CodeFrame> frames;
    std::vector<std::unique_ptr<NetworkStep>> steps;
    size_t output = 0;  ///< the plane with the logits
  };
  explicit IntegerNetwork(Plan plan) : plan_(std::move(plan)) {}

  /// images [N, H, W, C] f32, normalised -> logits [N, classes]. Several images go one per thread, a single one is cut
  /// by rows; the bits are the same. Safe from several threads.
  Tensor run(const Tensor& images) const;
  int64_t classes() const { return plan_.planes[plan_.output].elements(); }
  /// One line per step.
  std::vector<std::string> description() const;

 private:
  void run_image(const float* image, NetworkMemory& memory, float* logits) const;
  std::unique_ptr<NetworkMemory> take_memory() const;

  Plan plan_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<NetworkMemory>> unused_;  // kept from former calls
};

}  // namespace apotnet
