#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/tensor/tensor.h"

namespace apotnet {

/// Work that is the same every time, on fixed addresses, as a training step is.
class RepeatedWork {
 public:
  virtual ~RepeatedWork() = default;

  /// The first calls run `work`; once a call has taken no new memory (the second, as a rule), the next one records what
  /// `work` puts on the device. From then on the device repeats that as a whole, `work` itself is not called, and the
  /// host is free at once. Tensors that `work` reads or leaves behind keep their places, so new input is copied into
  /// the tensors of the first calls.
  virtual void run(const std::function<void()>& work) = 0;
  /// Kernels and copies of one repetition; 0 before it is recorded.
  virtual size_t nodes() const = 0;
};

/// A copy to the host that nobody waits for until it is wanted.
class LateCopy {
 public:
  virtual ~LateCopy() = default;
  /// Begins to copy `from`, behind everything called before; what was copied last is lost.
  virtual void start(const Tensor& from) = 0;
  /// Waits for the copy alone, not for what was called behind it.
  virtual Tensor finish() = 0;
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
  /// The same as a scalar s32 of the device, other than 0 where there was trouble, to be copied late.
  virtual const Tensor& trouble() = 0;
  virtual std::unique_ptr<LateCopy> late_copy() = 0;
  virtual std::unique_ptr<RepeatedWork> repeat() = 0;
};

/// The CUDA device, made ready by the first call. Error(unavailable) in one line where there is none.
Accelerator& cuda_device();

}  // namespace apotnet
