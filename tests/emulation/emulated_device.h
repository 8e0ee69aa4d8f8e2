#pragma once

// The kernel language for g++: what core/kernels/cuda/launch.h takes in place of nvcc's own.
#include <cuda_runtime_api.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/emulation/block.h"
#include "tests/emulation/fiber.h"
#include "tests/emulation/runtime.h"

#define threadIdx (::emulation::position.thread)
#define blockIdx (::emulation::position.block)
#define blockDim (::emulation::position.block_size)
#define gridDim (::emulation::position.grid_size)

#undef __launch_bounds__
#define __launch_bounds__(...)

/// Shared memory of a block: `type name[count]`, alike in both worlds.
#define SHARED_ARRAY(type, name, count)                                   \
  static char name##_place = 0; /* one for each instance of a template */ \
  type* const name = ::emulation::shared<type>(&name##_place, count)

// NOLINTBEGIN: these names are the language's
inline void __syncthreads(const emulation::Location& location = emulation::Location::current()) {
  emulation::block_barrier(location);
}
inline void __syncwarp(uint32_t mask = 0xFFFFFFFFu,
                       const emulation::Location& location = emulation::Location::current()) {
  emulation::warp_exchange(mask, 0, emulation::lane(), true, location);
}
template <typename T>
T __shfl_sync(uint32_t mask, T value, int source,
              const emulation::Location& location = emulation::Location::current()) {
  return emulation::exchange(mask, value, source & 31, location);
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, uint32_t delta,
                   const emulation::Location& location = emulation::Location::current()) {
  const int source = emulation::lane() + static_cast<int>(delta);
  return emulation::exchange(mask, value, source > 31 ? emulation::lane() : source, location);
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int flipped,
                  const emulation::Location& location = emulation::Location::current()) {
  return emulation::exchange(mask, value, emulation::lane() ^ flipped, location);
}
template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}
using std::isfinite;
using std::isinf;
/// a * b + c rounded down, for a c and a result next to each other, as of integers near 2^23: their difference is
/// exact.
inline float __fmaf_rd(float a, float b, float c) {
  const float nearest = std::fma(a, b, c);
  return std::fma(a, b, c - nearest) < 0 ? std::nextafter(nearest, -HUGE_VALF) : nearest;
}
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
/// To device memory alone: of any other address a device makes one of its own.
template <typename T>
void __stwb(T* place, T value, const emulation::Location& location = emulation::Location::current()) {
  {
    const emulation::Unseen unseen;
    if (!emulation::end_of_block(place)) emulation::fail_thread("a store to device memory outside it", location);
  }
  *place = value;
}
/// What was written before a fence is seen behind a later one. Atomic operations order nothing, as on a device.
inline void __threadfence() {
  static char all_fences;
  emulation::acquire(&all_fences);
  emulation::release(&all_fences);
}
/// Integers alone: sums of floats in an order of chance are not wanted.
template <typename Integer>
requires std::is_integral_v<Integer> Integer atomicAdd(Integer* place, Integer value) {
  return std::atomic_ref<Integer>(*place).fetch_add(value, std::memory_order_relaxed);
}
/// Counts to `last` and then begins at 0 again.
inline unsigned atomicInc(unsigned* place, unsigned last) {
  const std::atomic_ref<unsigned> number(*place);
  const unsigned former = number.load(std::memory_order_relaxed);  // fibers do not come in between
  number.store(former >= last ? 0 : former + 1, std::memory_order_relaxed);
  return former;
}
// NOLINTEND

namespace emulation {

/// What <<<>>> does, or with `together` a cooperative launch: queues the kernel on the stream, its arguments copied.
/// `name` is for tables and messages.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(const std::string& name, void (*kernel)(Parameters...), dim3 grid, dim3 block, bool together,
                   cudaStream_t stream, Arguments&&... arguments) {
  static_assert((std::is_trivially_copyable_v<std::decay_t<Parameters>> && ...),
                "kernel arguments are copied as bytes");
  const std::tuple<std::decay_t<Parameters>...> packed{std::forward<Arguments>(arguments)...};
  return enqueue_kernel(name, grid, block, together, sizeof packed, stream,
                        [kernel, packed] { std::apply(kernel, packed); });
}

}  // namespace emulation
