#pragma once

#include <chrono>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/kernels/kernels.h"
#include "core/kernels/trace.h"

namespace apotnet {

/// Which kernels compute float32 on the CPU. `checked` runs cpu and reference side by side and compares every call;
/// double always runs on the reference.
enum class Backend { reference, cpu, checked };

void select_backend(Backend backend);
Backend selected_backend();

/// Selects a back end for a scope.
class BackendScope {
 public:
  explicit BackendScope(Backend backend) : former_(selected_backend()) { select_backend(backend); }
  ~BackendScope() { select_backend(former_); }
  BackendScope(const BackendScope&) = delete;
  BackendScope& operator=(const BackendScope&) = delete;

 private:
  Backend former_;
};

/// Calls and seconds of one line of the contract since profiling was switched on.
struct KernelTime {
  std::string name;
  int64_t calls = 0;
  double seconds = 0;
};
void profile_kernels(bool on);
/// Longest first.
std::vector<KernelTime> kernel_times();

namespace detail {

const Kernels& fast_kernels();
bool profiling();
void add_kernel_time(std::string_view name, double seconds);
/// Error(internal) naming the kernel when `fast` is not `plain` up to rounding (integers: exactly).
void compare_outputs(std::string_view kernel, const Tensor& fast, const Tensor& plain);

inline bool is_double(const Tensor& tensor) { return tensor.dtype() == DType::f64; }
inline bool is_double(const Quantized& q) { return q.step.dtype() == DType::f64; }
template <typename Other>
bool is_double(const Other&) {
  return false;
}

// A kernel's argument for the plain run of a checked call: outputs get memory of their own, inputs are shared.
inline Tensor twin(Tensor& output) { return output.clone(); }
inline Quantized twin(Quantized& output) { return {output.codes.clone(), output.step.clone(), output.levels}; }
template <typename Input>
const Input& twin(const Input& input) {
  return input;
}

inline void compare(std::string_view kernel, Tensor& fast, const Tensor& plain) {
  compare_outputs(kernel, fast, plain);
}
inline void compare(std::string_view kernel, Quantized& fast, const Quantized& plain) {
  compare_outputs(kernel, fast.codes, plain.codes);
  compare_outputs(kernel, fast.step, plain.step);
}
template <typename Input>
void compare(std::string_view, const Input&, const Input&) {}

template <typename Family, typename... Parameters, size_t... I>
void call_checked(std::string_view name, void (Family::*kernel)(Parameters...) const, std::index_sequence<I...>,
                  Parameters... arguments) {
  std::tuple<decltype(twin(arguments))...> twins{twin(arguments)...};
  (fast_kernels().family<Family>().*kernel)(arguments...);
  (reference_kernels().family<Family>().*kernel)(std::get<I>(twins)...);
  (compare(name, arguments, std::get<I>(twins)), ...);
}

}  // namespace detail

/// The one door from the operations to a back end: runs one line of the contract on the kernels in charge.
///   call("relu", &ElementwiseKernels::relu, x, y);
template <typename Family, typename... Parameters, typename... Arguments>
void call(std::string_view name, void (Family::*kernel)(Parameters...) const, Arguments&&... arguments) {
  const auto start = std::chrono::steady_clock::now();
  if (selected_backend() == Backend::reference || (detail::is_double(arguments) || ...))
    (reference_kernels().family<Family>().*kernel)(arguments...);
  else if (selected_backend() == Backend::checked)
    detail::call_checked<Family, Parameters...>(name, kernel, std::index_sequence_for<Parameters...>{}, arguments...);
  else
    (detail::fast_kernels().family<Family>().*kernel)(arguments...);
  if (KernelTrace* trace = KernelTrace::current())
    trace->record(name, {std::any(std::decay_t<Parameters>(arguments))...});
  if (detail::profiling())
    detail::add_kernel_time(name, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

}  // namespace apotnet
