#include "core/kernels/call.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "core/base/error.h"

namespace apotnet {
namespace {

Backend backend = Backend::cpu;
const Kernels* replaced_kernels = nullptr;
bool profile = false;
std::mutex profile_mutex;
std::map<std::string, KernelTime, std::less<>> profile_times;

// Sums of products in float32 in another order differ by rounding; relative to the largest magnitude of the output.
constexpr double kFloatTolerance = 2e-4;

}  // namespace

void select_backend(Backend choice) { backend = choice; }
Backend selected_backend() { return backend; }
void use_fast_kernels(const Kernels& kernels) { replaced_kernels = &kernels; }

void profile_kernels(bool on) {
  std::lock_guard lock(profile_mutex);
  profile = on;
  profile_times.clear();
}

std::vector<KernelTime> kernel_times() {
  std::lock_guard lock(profile_mutex);
  std::vector<KernelTime> times;
  for (const auto& [name, time] : profile_times) times.push_back(time);
  std::ranges::sort(times, std::greater{}, &KernelTime::seconds);
  return times;
}

namespace {
thread_local KernelTrace* recording_trace = nullptr;
}  // namespace

KernelTrace::KernelTrace(Mode mode) : mode_(mode), former_(recording_trace) { recording_trace = this; }
KernelTrace::~KernelTrace() { recording_trace = former_; }
KernelTrace* KernelTrace::current() { return recording_trace; }
KernelTrace* KernelTrace::waiting() {
  return recording_trace && recording_trace->mode_ == Mode::records ? recording_trace : nullptr;
}

namespace detail {

const Kernels& fast_kernels() { return replaced_kernels ? *replaced_kernels : cpu_kernels(); }
bool profiling() { return profile; }

void add_kernel_time(std::string_view name, double seconds) {
  std::lock_guard lock(profile_mutex);
  auto entry = profile_times.find(name);
  if (entry == profile_times.end())
    entry = profile_times.emplace(std::string(name), KernelTime{std::string(name), 0, 0}).first;
  ++entry->second.calls;
  entry->second.seconds += seconds;
}

void compare_outputs(std::string_view kernel, const Tensor& fast, const Tensor& plain) {
  require(fast.shape() == plain.shape(), "kernel ", kernel, ": an output of shape ", fast.shape(),
          ", the reference's is ", plain.shape());
  dispatch_any(plain.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto a = fast.data<T>(), b = plain.data<T>();
    double largest = 0;
    for (const T value : b)
      if (const double magnitude = std::abs(static_cast<double>(value)); std::isfinite(magnitude))
        largest = std::max(largest, magnitude);
    const double allowed = is_floating(plain.dtype()) ? kFloatTolerance * largest : 0;
    for (size_t i = 0; i < b.size(); ++i) {
      const auto x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
      const bool same = x == y || (std::isnan(x) && std::isnan(y));  // infinities have no difference
      if (!same && !(std::abs(x - y) <= allowed))
        fail(ErrorCategory::internal, "kernel ", kernel, ": element ", i, " of an output of shape ", fast.shape(),
             " is ", x, ", the reference says ", y);
    }
  });
}

}  // namespace detail
}  // namespace apotnet
