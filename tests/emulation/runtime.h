#pragma once

#include <driver_types.h>
#include <vector_types.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace emulation {

/// Work on a stream waits until something has to be done: then the streams go on in random order, each in its own, so
/// that a missing event shows. Device memory is poisoned (address sanitizer) except while that happens.
/// With `together` all blocks run at the same time, which takes a device that has room for them.
cudaError_t enqueue_kernel(const std::string& name, dim3 grid, dim3 block, bool together, size_t argument_bytes,
                           cudaStream_t stream, std::function<void()> kernel);
/// Work of a library (the twins of cuDNN and cuBLAS): runs with device memory open, is captured like a kernel.
cudaError_t enqueue_library_call(const std::string& name, cudaStream_t stream, std::function<void()> call);

/// The fault of a kernel since the last call, empty if none; the device is usable again.
std::string take_fault();

/// Names of the nodes of a graph, in their order.
std::vector<std::string> node_names(cudaGraph_t graph);

/// Blocks of device memory that nobody has freed.
size_t live_allocations();
/// cudaMalloc calls so far: a warm training step makes none.
size_t allocation_count();

/// The end of the device block that `pointer` lies in; nullptr outside device memory.
const std::byte* end_of_block(const void* pointer);

/// While idle the device accepts work and forgets it, and memory is address space that nobody may touch: for counting
/// what a step of any size would do.
void set_idle(bool idle);

/// How many bytes cudaMalloc still gives out beside those that it has; any number at first, and with SIZE_MAX.
void set_memory_left(size_t bytes);

/// How many devices cudaGetDeviceCount finds, 1 at first; with none it answers as a machine without a driver does.
void set_device_count(int count);
/// The CUDA version of the driver, the toolkit's at first.
void set_driver_version(int version);
/// Their compute capability: major 9 at first, minor 0.
void set_compute_major(int major);
/// Their multiprocessors, 4 at first; each has room for one block of those that run together.
void set_multiprocessors(int count);

}  // namespace emulation
