#pragma once

#include <chrono>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/kernels/arguments.h"
#include "core/kernels/kernels.h"
#include "core/kernels/trace.h"

namespace apotnet {

/// Which kernels compute float32 on the CPU. `checked` runs cpu and reference side by side and compares every call;
/// double always runs on the reference. Tensors on a CUDA device are always computed there; `checked` compares that
/// too, with the reference on copies.
enum class Backend { reference, cpu, checked };

void select_backend(Backend backend);
Backend selected_backend();
/// What Backend::cpu stands for, the CPU's kernels at first: a test of a back end puts its own in their place.
void use_fast_kernels(const Kernels& kernels);

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

// A call that is computed by the reference alone.
template <typename Argument>
bool is_double(const Argument& argument) {
  bool found = false;
  for_each_tensor(argument, [&](const Tensor& tensor) { found = found || tensor.dtype() == DType::f64; });
  return found;
}

template <typename Argument>
bool on_device(const Argument& argument) {
  bool found = false;
  for_each_tensor(argument, [&](const Tensor& tensor) { found = found || !tensor.on_cpu(); });
  return found;
}

// The argument of the plain run of a checked call: what is written gets memory of its own, inputs are shared unless
// they lie on a device.
template <typename Argument>
auto twin(Argument& argument) {
  return with_tensors(argument, [](const Tensor& tensor) {
    return kIsWritten<Argument> && tensor.on_cpu() ? tensor.clone() : tensor.on(Device{});
  });
}

template <typename Argument>
void compare(std::string_view kernel, Argument& fast, const std::remove_const_t<Argument>& plain) {
  if constexpr (kIsWritten<Argument>)
    for_each_pair(fast, plain, [&](const Tensor& of_fast, const Tensor& of_plain) {
      compare_outputs(kernel, of_fast.on(Device{}), of_plain);
    });
}

template <typename Family, typename... Parameters, size_t... I>
void call_checked(std::string_view name, const Kernels& kernels, void (Family::*kernel)(Parameters...) const,
                  std::index_sequence<I...>, Parameters... arguments) {
  std::tuple<decltype(twin(arguments))...> twins{twin(arguments)...};
  (kernels.family<Family>().*kernel)(arguments...);
  (reference_kernels().family<Family>().*kernel)(std::get<I>(twins)...);
  (compare(name, arguments, std::get<I>(twins)), ...);
}

// The call as it will be made, instead of making it.
template <typename Family, typename... Parameters, size_t... I>
void record_waiting(KernelTrace& trace, std::string_view name, void (Family::*kernel)(Parameters...) const,
                    std::index_sequence<I...>, const std::decay_t<Parameters>&... arguments) {
  TracedCall traced{std::string(name), {std::any(arguments)...}};
  traced.replay = [kernel](const TracedCall& call, const Kernels& kernels) {
    // Outputs are handles: a copy of one is as good.
    std::tuple<std::decay_t<Parameters>...> copies{call.get<std::decay_t<Parameters>>(I)...};
    (kernels.family<Family>().*kernel)(std::get<I>(copies)...);
  };
  const auto note = [&](const Tensor& tensor) {
    traced.watches.emplace_back(tensor);
    traced.addresses.push_back(tensor.raw());
  };
  (for_each_tensor(std::any_cast<const std::decay_t<Parameters>&>(traced.arguments[I]), note), ...);
  trace.record(std::move(traced));
}

}  // namespace detail

/// The one door from the operations to a back end: runs one line of the contract on the kernels in charge.
///   call("relu", &ElementwiseKernels::relu, x, y);
template <typename Family, typename... Parameters, typename... Arguments>
void call(std::string_view name, void (Family::*kernel)(Parameters...) const, Arguments&&... arguments) {
  if (KernelTrace* trace = KernelTrace::waiting()) {
    detail::record_waiting<Family, Parameters...>(*trace, name, kernel, std::index_sequence_for<Parameters...>{},
                                                  arguments...);
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  const bool on_device = (detail::on_device(arguments) || ...);
  const Kernels& fast = on_device ? cuda_kernels() : detail::fast_kernels();
  if (!on_device && (selected_backend() == Backend::reference || (detail::is_double(arguments) || ...)))
    (reference_kernels().family<Family>().*kernel)(arguments...);
  else if (selected_backend() == Backend::checked)
    detail::call_checked<Family, Parameters...>(name, fast, kernel, std::index_sequence_for<Parameters...>{},
                                                arguments...);
  else
    (fast.family<Family>().*kernel)(arguments...);
  if (KernelTrace* trace = KernelTrace::current())
    trace->record({std::string(name), {std::any(std::decay_t<Parameters>(arguments))...}});
  if (detail::profiling())
    detail::add_kernel_time(name, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

}  // namespace apotnet
