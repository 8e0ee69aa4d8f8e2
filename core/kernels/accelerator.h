#pragma once

#include <functional>
#include <memory>
#include <string>

namespace apotnet {

/// Work that is the same every time, on fixed addresses, as a training step is.
class RepeatedWork {
 public:
  virtual ~RepeatedWork() = default;

  /// The first two calls run `work`, the third records what it puts on the device; from then on the device repeats that
  /// as a whole, `work` itself is not called, and the host is free at once. Tensors that `work` reads or leaves behind
  /// keep their places, so new input is copied into the tensors of the first calls.
  virtual void run(const std::function<void()>& work) = 0;
  /// Kernels and copies of one repetition; 0 before it is recorded.
  virtual size_t nodes() const = 0;
};

/// A device besides the CPU, and what of it is not a kernel. Tensors go there by Tensor::on(), and kernels run where
/// their tensors lie.
class Accelerator {
 public:
  virtual ~Accelerator() = default;

  virtual std::string description() const = 0;
  /// Waits for everything that was called before.
  virtual void synchronize() = 0;
  /// Whether a kernel has met, since the last call, what stops the CPU at once: an unusable clipping threshold, weights
  /// that are all the same, a label outside the classes. Waits; the caller looks for the culprit on copies.
  virtual bool take_trouble() = 0;
  virtual std::unique_ptr<RepeatedWork> repeat() = 0;
};

/// The CUDA device, made ready by the first call. Error(unavailable) in one line where there is none.
Accelerator& cuda_device();

}  // namespace apotnet
