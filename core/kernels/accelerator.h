#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/tensor/tensor.h"

namespace apotnet {

/// Work that is the same every time, on fixed addresses, as a training step is.
class RepeatedWork {
 public:
  virtual ~RepeatedWork() = default;

  /// The first call traces `work`, without running any of it, and runs it in a form that the device is better at. The
  /// next one records what that puts on the device; from then on the device repeats it as a whole and the host is free
  /// at once. Work that has no such form is called for the first two or three runs instead, and with Backend::checked
  /// at every run. So `work` may be called more often than run() at first and less often later; it neither copies from
  /// the host nor reads results. Tensors that it reads or leaves behind keep their places: new input is copied into the
  /// tensors of the first call.
  virtual void run(const std::function<void()>& work) = 0;
  /// Kernels and copies of one repetition; 0 before it is recorded.
  virtual size_t nodes() const = 0;
};

/// Copies to the device that the host does not wait for.
class EarlyCopy {
 public:
  virtual ~EarlyCopy() = default;
  /// Copies `from`, of the host, into `to`, of the device, behind everything called before; `from` may be changed at
  /// once. Waits only while the last copy but one has not been done.
  virtual void start(const Tensor& from, Tensor& to) = 0;
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

  /// Its name, and in brackets what else of it decides about the bits of a training.
  virtual std::string description() const = 0;
  /// Waits for everything that was called before.
  virtual void synchronize() = 0;
  /// Whether a kernel has met, since the last call, what stops the CPU at once: an unusable clipping threshold, weights
  /// that are all the same, a label outside the classes. Waits; the caller looks for the culprit on copies.
  virtual bool take_trouble() = 0;
  /// The same as a scalar s32 of the device, other than 0 where there was trouble, to be copied late.
  virtual const Tensor& trouble() = 0;
  virtual std::unique_ptr<EarlyCopy> early_copy() = 0;
  virtual std::unique_ptr<LateCopy> late_copy() = 0;
  virtual std::unique_ptr<RepeatedWork> repeat() = 0;
  /// The vendor's kernel for each convolution that was called so far, as one word, by a line that says what it
  /// computes.
  virtual std::map<std::string, std::string> engines() const = 0;
  /// From now on convolutions take these, which engines() named once; one that is not to be had any more is chosen
  /// anew.
  virtual void prefer_engines(const std::map<std::string, std::string>& engines) = 0;
};

/// The CUDA device, made ready by the first call. Error(unavailable) in one line where there is none.
Accelerator& cuda_device();
/// Which of several it is, as the driver counts them, named before the first call: 0 otherwise.
void choose_cuda_device(int number);

}  // namespace apotnet
