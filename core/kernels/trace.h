#pragma once

#include <any>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace apotnet {

/// One call of the contract: its arguments in the order of the declaration, tensors as handles that keep them alive.
struct TracedCall {
  std::string name;
  std::vector<std::any> arguments;

  /// Error(internal) when the argument is of another type.
  template <typename T>
  const T& get(size_t argument) const {
    return std::any_cast<const T&>(arguments.at(argument));
  }
};

/// While one lives, every kernel call of this thread is recorded.
class KernelTrace {
 public:
  KernelTrace();
  ~KernelTrace();
  KernelTrace(const KernelTrace&) = delete;
  KernelTrace& operator=(const KernelTrace&) = delete;

  /// What was recorded; further calls start anew.
  std::vector<TracedCall> take() { return std::exchange(calls_, {}); }
  /// The one that is recording on this thread, or null.
  static KernelTrace* current();
  void record(std::string_view name, std::vector<std::any> arguments) {
    calls_.push_back({std::string(name), std::move(arguments)});
  }

 private:
  std::vector<TracedCall> calls_;
  KernelTrace* former_;
};

}  // namespace apotnet
