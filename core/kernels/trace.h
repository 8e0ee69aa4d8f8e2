#pragma once

#include <any>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor/tensor.h"

namespace apotnet {

struct Kernels;

/// One call of the contract: its arguments in the order of the declaration, tensors as handles that keep them alive.
struct TracedCall {
  std::string name;
  std::vector<std::any> arguments;
  /// Makes the call; from a trace that only records.
  std::function<void(const TracedCall&, const Kernels&)> replay = {};
  // Of a trace that only records: the tensors among the arguments, and where they lie.
  std::vector<Tensor::Watch> watches = {};
  std::vector<const std::byte*> addresses = {};

  /// Error(internal) when the argument is of another type.
  template <typename T>
  const T& get(size_t argument) const {
    return std::any_cast<const T&>(arguments.at(argument));
  }
};

/// While one lives, every kernel call of this thread is recorded.
class KernelTrace {
 public:
  enum class Mode {
    runs,     ///< calls run as ever
    records,  ///< nothing runs: calls, copies and fills on a device wait to be replayed
  };
  explicit KernelTrace(Mode mode = Mode::runs);
  ~KernelTrace();
  KernelTrace(const KernelTrace&) = delete;
  KernelTrace& operator=(const KernelTrace&) = delete;

  /// What was recorded; further calls start anew.
  std::vector<TracedCall> take() { return std::exchange(calls_, {}); }
  /// The one that is recording on this thread, or null.
  static KernelTrace* current();
  /// The same if nothing runs while it records, else null.
  static KernelTrace* waiting();
  void record(TracedCall call) { calls_.push_back(std::move(call)); }

 private:
  Mode mode_;
  std::vector<TracedCall> calls_;
  KernelTrace* former_;
};

}  // namespace apotnet
