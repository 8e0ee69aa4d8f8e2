#pragma once

// What kernel files need. nvcc compiles them for the device; g++ compiles the same files against the emulation of the
// kernel language (tests/emulation), which is found through the include path of that target alone. Rules: launch() in
// place of <<<>>>, SHARED_ARRAY in place of __shared__ (it begins at a multiple of 16 bytes, whatever its type, and may
// be filled by packs), blocks of a whole number of warps.
#ifdef __CUDACC__
#include <cuda_runtime.h>
#define SHARED_ARRAY(type, name, count) __shared__ alignas(16) type name[count]
#else
#include <emulated_device.h>
#endif

#include <algorithm>
#include <initializer_list>

#include "core/kernels/cuda/context.h"

namespace apotnet::cuda {

/// Threads of a block, in every kernel of this folder.
inline constexpr int kThreads = 256;

/// Bytes of arguments that a kernel may have.
inline constexpr size_t kArgumentBytes = CUDART_VERSION >= 12010 ? 32764 : 4096;

/// Whether the blocks of a launch come and go, or are all there at the same time and may meet (GridBarrier). The
/// latter takes a device with room for them.
enum class Blocks { in_turn, together };

/// Launches on the context's stream, `grid` blocks of kThreads.
template <typename... Parameters, typename... Arguments>
void launch(const Node& node, Blocks blocks, void (*kernel)(Parameters...), dim3 grid, Arguments&&... arguments) {
  Context& context = Context::get();
  context.record(node);
  const bool together = blocks == Blocks::together;
#ifdef __CUDACC__
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(kThreads);
  config.stream = context.stream().get();
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  config.attrs = &attribute;
  config.numAttrs = together ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), node.name.data());
#else
  check(emulation::launch(std::string(node.name), kernel, grid, dim3(kThreads), together, context.stream().get(),
                          std::forward<Arguments>(arguments)...),
        node.name.data());
#endif
}
template <typename... Parameters, typename... Arguments>
void launch(const Node& node, void (*kernel)(Parameters...), dim3 grid, Arguments&&... arguments) {
  launch(node, Blocks::in_turn, kernel, grid, std::forward<Arguments>(arguments)...);
}

/// N elements that travel together: 16 bytes are one access. A longer pack is several, so that tensors need to begin at
/// multiples of 16 bytes alone, on devices too that could take 32 at once.
template <typename T, int N>
struct alignas(std::min<size_t>(sizeof(T) * N, 16)) Pack {
  T values[N];
  __device__ T& operator[](int i) { return values[i]; }
  __device__ const T& operator[](int i) const { return values[i]; }
};

/// Reads N elements from place + i, where i is a multiple of N.
template <int N, typename T>
__device__ Pack<T, N> load(const T* place, int64_t i) {
  return *reinterpret_cast<const Pack<T, N>*>(place + i);
}
template <int N, typename T>
__device__ void store(T* place, int64_t i, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(place + i) = pack;
}
/// The same to device memory alone, not to shared memory, in words of 8 or 16 bytes where the pack has them: in a large
/// kernel the compiler may take an assignment apart into a store for each element.
template <int N, typename T>
__device__ void store_whole(T* place, int64_t i, const Pack<T, N>& pack) {
  if constexpr (alignof(Pack<T, N>) >= 8) {
    using Unit = std::conditional_t<alignof(Pack<T, N>) == 16, uint4, uint2>;
    Unit units[sizeof pack / sizeof(Unit)];
    memcpy(units, &pack, sizeof pack);
    for (size_t u = 0; u < sizeof pack / sizeof(Unit); ++u) __stwb(reinterpret_cast<Unit*>(place + i) + u, units[u]);
  } else {
    store(place, i, pack);
  }
}

/// Calls f with the number of elements per thread: 4 where `multiple` allows it, else 1.
template <typename F>
void with_pack(int64_t multiple, F&& f) {
  if (multiple % 4 == 0)
    f(std::integral_constant<int, 4>{});
  else
    f(std::integral_constant<int, 1>{});
}

/// `count`, or 1 where a tensor does not begin at 16 bytes: a part of another one may begin anywhere.
inline int64_t aligned_count(int64_t count, std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* tensor : tensors)
    if (reinterpret_cast<uintptr_t>(tensor->raw()) % 16 != 0) return 1;
  return count;
}

/// Blocks for `count` threads, at most so many that each still has several rounds of work.
inline unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>(std::clamp<int64_t>((count + kThreads - 1) / kThreads, 1, 4096));
}

/// Every index of [0, count) for one thread of the grid each, in rounds.
template <typename F>
__device__ void for_each_index(int64_t count, F&& f) {
  const int64_t round = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += round) f(i);
}

}  // namespace apotnet::cuda
