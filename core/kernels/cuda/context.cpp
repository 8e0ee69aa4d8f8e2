#include "core/kernels/cuda/context.h"

#include <cstdlib>
#include <utility>

#include "core/base/error.h"
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/trace.h"

namespace apotnet::cuda {
namespace {

int& chosen() {
  static int number = 0;
  return number;
}

// What the host writes or reads cannot wait until a recorded step runs.
void require_running(const char* what) {
  require(!KernelTrace::waiting(), what, " in the middle of a step that is recorded");
}

// A copy or fill as a call of a trace, if there is one that waits: its replay, and the addresses that it touches.
bool waits(const char* name, std::vector<const std::byte*> addresses, std::function<void()> replay) {
  KernelTrace* trace = KernelTrace::waiting();
  if (!trace) return false;
  trace->record({.name = name,
                 .arguments = {},
                 .replay = [replay](const TracedCall&, const Kernels&) { replay(); },
                 .addresses = std::move(addresses)});
  return true;
}

// Whether APOTNET_CHAINS wants launches of one layer each. Error(usage) for what it cannot want.
bool chains_are_off() {
  const char* const wanted = std::getenv("APOTNET_CHAINS");
  if (!wanted || !*wanted) return false;
  if (std::string_view(wanted) != "off")
    fail(ErrorCategory::usage, "APOTNET_CHAINS=", wanted, ": off is its only value; unset it to have chains");
  return true;
}

}  // namespace

std::string open_device(int number) {
  int count = 0;  // stays as it is where there is no driver
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    int driver = 0;
    const bool found = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
    cudaGetLastError();
    fail(ErrorCategory::unavailable, "no CUDA device (",
         !found                                 ? "driver not found"
         : error == cudaErrorInsufficientDriver ? text("the driver is too old for CUDA ", CUDART_VERSION / 1000)
         : error == cudaSuccess || error == cudaErrorNoDevice ? "the driver finds none"
                                                              : text("the driver says: ", cudaGetErrorString(error)),
         "); use --device cpu");
  }
  if (number >= count)
    fail(ErrorCategory::unavailable, "no CUDA device ", number, ": there ",
         count == 1 ? std::string("is cuda:0 alone") : text("are cuda:0 to cuda:", count - 1));
  // An older one runs what was built by a newer toolkit of its major version, but for kernels of so many arguments.
  constexpr int kManyArguments = 12010;
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "asking for the driver");
  if (CUDART_VERSION >= kManyArguments && driver < kManyArguments)
    fail(ErrorCategory::unavailable, "the driver is for CUDA ", driver / 1000, ".", driver % 1000 / 10,
         "; one for 12.1 or newer is needed; use --device cpu");
  check(cudaSetDevice(number), "choosing the CUDA device");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, number), "asking for the CUDA device");
  if (properties.major < 8)
    fail(ErrorCategory::unavailable, "the CUDA device ", number, ", ", properties.name, ", is of compute capability ",
         properties.major, ".", properties.minor, "; 8.0 (Ampere) or newer is needed; use --device cpu");
  return text(properties.name, " (sm_", properties.major, properties.minor, ", ", properties.multiProcessorCount,
              " multiprocessors", chains_are_off() ? ", without chains)" : ")");
}

Context& Context::get() {
  static Context* context = new Context;  // outlives static tensors
  thread_local bool is_current = false;   // a thread begins with device 0
  if (!std::exchange(is_current, true)) check(cudaSetDevice(chosen()), "choosing the CUDA device");
  return *context;
}

void Context::choose(int number) { chosen() = number; }

Context::Context() : description_(open_device(chosen())) {
  use_device_memory(this);
  tickets_ = Tensor({kTickets}, DType::s32, kCuda);
  trouble_ = Tensor({1}, DType::s32, kCuda);
  for (Tensor* words : {&tickets_, &trouble_})
    check(cudaMemsetAsync(words->raw(), 0, words->bytes(), stream_.get()), "clearing device memory");
}

int Context::blocks_together(const void* kernel, int threads) const {
  int multiprocessors = 0, cooperates = 0, of_each = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, chosen()), "asking for the device");
  check(cudaDeviceGetAttribute(&cooperates, cudaDevAttrCooperativeLaunch, chosen()), "asking for the device");
  if (!blocks_may_meet_ || !cooperates || chains_are_off()) return 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_each, kernel, threads, 0), "asking for a kernel's room");
  return multiprocessors * of_each;
}

DeviceBlock Context::allocate(size_t bytes) {
  DeviceBlock block = pool_->allocate(bytes, own_pool_.get());
  if (fill_fresh_memory_ && bytes > 0)
    check(cudaMemsetAsync(block.data, 0xFF, bytes, stream_.get()), "filling device memory");
  return block;
}

void Context::copy_in(std::span<const std::byte> from, std::byte* to) {
  require_running("a copy to the device");
  record({"copy in", 0, from.size()});
  check(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyHostToDevice, stream_.get()), "copying to the device");
}

void Context::copy_out(const std::byte* from, std::span<std::byte> to) {
  if (to.empty()) return;
  require_running("a copy to the host");
  record({"copy out", to.size(), 0});
  check(cudaMemcpyAsync(to.data(), from, to.size(), cudaMemcpyDeviceToHost, stream_.get()), "copying to the host");
  stream_.synchronize();
}

void Context::copy(const std::byte* from, std::byte* to, size_t bytes) {
  if (bytes == 0 || waits("copy", {from, to}, [=, this] { copy(from, to, bytes); })) return;
  record({"copy", bytes, bytes});
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_.get()), "copying on the device");
}

void Context::fill(std::byte* to, uint64_t pattern, size_t width, size_t count) {
  if (count == 0 || waits("fill", {to}, [=, this] { fill(to, pattern, width, count); })) return;
  launch_fill(to, pattern, width, count);
}

}  // namespace apotnet::cuda
