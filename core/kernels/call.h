#pragma once

#include <chrono>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

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

inline bool is_double(const Tensor& tensor) { return tensor.dtype() == DType::f64; }
inline bool is_double(const Quantized& q) { return q.step.dtype() == DType::f64; }
inline bool is_double(const std::vector<SgdItem>& items) { return !items.empty() && is_double(items[0].parameter); }
template <typename Other>
bool is_double(const Other&) {
  return false;
}

// Calls use(tensor) for each defined tensor of a kernel's argument. A new struct of arguments needs a line here.
template <typename Value, typename Use>
requires(std::is_arithmetic_v<Value> || std::is_enum_v<Value>) void for_each_tensor(const Value&, Use&&) {}
template <typename Use>
void for_each_tensor(const Conv2dGeometry&, Use&&) {}
template <typename Use>
void for_each_tensor(const PoolGeometry&, Use&&) {}
template <typename Use>
void for_each_tensor(const Tensor& tensor, Use&& use) {
  if (tensor.defined()) use(tensor);
}
template <typename Use, typename... Tensors>
void for_all_tensors(Use&& use, const Tensors&... tensors) {
  (for_each_tensor(tensors, use), ...);
}
template <typename Use>
void for_each_tensor(const Quantized& q, Use&& use) {
  for_all_tensors(use, q.codes, q.step);
}
template <typename Use>
void for_each_tensor(const BatchNormTerms& norm, Use&& use) {
  for_all_tensors(use, norm.mean, norm.variance, norm.gamma, norm.beta);
}
template <typename Use>
void for_each_tensor(const std::vector<SgdItem>& items, Use&& use) {
  for (const SgdItem& item : items) for_all_tensors(use, item.gradient, item.parameter, item.velocity, item.squares);
}
template <typename Use>
void for_each_tensor(const ResidentImages& data, Use&& use) {
  for_all_tensors(use, data.images, data.labels, data.tables);
}
template <typename Use>
void for_each_tensor(const CodesConvolution& convolution, Use&& use) {
  for_all_tensors(use, convolution.x, convolution.w);
}
template <typename Use>
void for_each_tensor(const ChannelThresholds& t, Use&& use) {
  for_all_tensors(use, t.values, t.rising, t.levels, t.factor, t.offset, t.table);
}
template <typename Use>
void for_each_tensor(const ValueTerms& terms, Use&& use) {
  for_all_tensors(use, terms.scale, terms.shift, terms.shortcut);
}
template <typename Use>
void for_each_tensor(const ValuesOutput& out, Use&& use) {
  for_each_tensor(out.values, use);
  for (const CodesOutput& codes : out.codes) for_all_tensors(use, codes.table, codes.codes);
}

template <typename Argument>
bool on_device(const Argument& argument) {
  bool found = false;
  for_each_tensor(argument, [&](const Tensor& tensor) { found = found || !tensor.on_cpu(); });
  return found;
}

// A kernel's argument for the plain run of a checked call: outputs get memory of their own, inputs are shared unless
// they lie on a device.
inline Tensor on_host(const Tensor& tensor) { return tensor.on(Device{}); }
inline Tensor twin(Tensor& output) { return on_device(output) ? on_host(output) : output.clone(); }
inline Quantized twin(Quantized& output) { return {twin(output.codes), twin(output.step), output.levels}; }
inline Tensor twin(const Tensor& input) { return on_host(input); }
inline Quantized twin(const Quantized& input) { return {on_host(input.codes), on_host(input.step), input.levels}; }
inline BatchNormTerms twin(const BatchNormTerms& norm) {
  return {on_host(norm.mean), on_host(norm.variance), on_host(norm.gamma),
          on_host(norm.beta), norm.epsilon,           norm.constant_statistics};
}
inline ResidentImages twin(const ResidentImages& data) {
  return {on_host(data.images), on_host(data.labels), on_host(data.tables), data.pad};
}
inline std::vector<SgdItem> twin(const std::vector<SgdItem>& items) {
  std::vector<SgdItem> twins = items;
  for (SgdItem& item : twins)
    for (Tensor* tensor : {&item.gradient, &item.parameter, &item.velocity, &item.squares})
      if (tensor->defined()) *tensor = twin(*tensor);
  return twins;
}
inline CodesConvolution twin(const CodesConvolution& convolution) {
  return {on_host(convolution.x), on_host(convolution.w), convolution.geometry};
}
inline ChannelThresholds twin(const ChannelThresholds& t) {
  return {on_host(t.values),
          on_host(t.rising),
          on_host(t.levels),
          on_host(t.factor),
          on_host(t.offset),
          on_host(t.table),
          t.top};
}
inline ValueTerms twin(const ValueTerms& terms) {
  return {terms.step, on_host(terms.scale), on_host(terms.shift), on_host(terms.shortcut), terms.relu};
}
inline ValuesOutput twin(ValuesOutput& out) {
  ValuesOutput copy{twin(out.values), out.codes};
  for (CodesOutput& codes : copy.codes) codes.table = on_host(codes.table), codes.codes = twin(codes.codes);
  return copy;
}
template <typename Input>
const Input& twin(const Input& input) {
  return input;
}

inline void compare(std::string_view kernel, Tensor& fast, const Tensor& plain) {
  compare_outputs(kernel, on_host(fast), plain);
}
inline void compare(std::string_view kernel, Quantized& fast, const Quantized& plain) {
  compare(kernel, fast.codes, plain.codes);
  compare(kernel, fast.step, plain.step);
}
inline void compare(std::string_view kernel, const std::vector<SgdItem>& fast, const std::vector<SgdItem>& plain) {
  for (size_t i = 0; i < fast.size(); ++i) {
    compare_outputs(kernel, on_host(fast[i].parameter), plain[i].parameter);
    compare_outputs(kernel, on_host(fast[i].velocity), plain[i].velocity);
    if (fast[i].squares.defined()) compare_outputs(kernel, on_host(fast[i].squares), plain[i].squares);
  }
}
inline void compare(std::string_view kernel, ValuesOutput& fast, const ValuesOutput& plain) {
  if (fast.values.defined()) compare(kernel, fast.values, plain.values);
  for (size_t i = 0; i < fast.codes.size(); ++i) compare(kernel, fast.codes[i].codes, plain.codes[i].codes);
}
template <typename Input>
void compare(std::string_view, const Input&, const Input&) {}

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
