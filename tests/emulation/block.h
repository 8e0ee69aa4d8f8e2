#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace emulation {

/// What a kernel did that a device would not forgive: where, and what.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where the running thread stands in its launch.
struct Position {
  uint3 thread{}, block{};
  dim3 block_size, grid_size;
};
extern Position position;

/// Begins the pseudo-random orders of blocks, threads and streams anew.
void seed(uint64_t value);
uint64_t random_below(uint64_t bound);

/// Runs every thread of every block: blocks one after another, the threads of a block as fibers, both in random order.
/// With `together` all blocks are there at the same time and may meet. Throws Fault where the kernel breaks a rule.
void run_grid(dim3 grid, dim3 block, bool together, const std::function<void()>& kernel);

using Location = std::source_location;

/// Ends the run from inside a thread, as a Fault that says what, where and which thread.
[[noreturn]] void fail_thread(const std::string& what, const Location& location);

/// All threads of the block wait here for each other. A Fault when one of them waits elsewhere or has ended.
void block_barrier(const Location& location);

/// All threads of all blocks of a launch arrive, and wait for each other. A Fault when blocks do not run together, or a
/// thread waits that has not arrived.
void grid_arrive(const Location& location);
void grid_wait(const Location& location);

/// The lanes of `mask` wait here for each other; returns what lane `source(lane)` handed in, as PTX's shfl does.
/// A Fault when the calling lane is not in the mask, a lane of the mask never comes, or a source is not in the mask.
uint64_t warp_exchange(uint32_t mask, uint64_t bits, int source_lane, bool orders_memory, const Location& location);
int lane();

/// All 32 lanes of the warp meet here, each with an object of its own, of `bytes` (at most 32); returns those that they
/// brought, lane by lane, until the next meeting. A Fault when a lane never comes.
const void* warp_gather(const void* own, size_t bytes, const Location& location);

/// `count` elements of shared memory of the running block, the same for all that name the same place; NaN patterns at
/// first. A Fault beyond 48 KiB for the block.
void* shared_bytes(const void* place, size_t bytes, const Location& location);

template <typename T>
T* shared(const void* place, size_t count, const Location& location = Location::current()) {
  return static_cast<T*>(shared_bytes(place, count * sizeof(T), location));
}

/// A Fault unless 16 bytes of the running block's shared memory begin here, at a multiple of 16: what ldmatrix reads.
void require_matrix_row(const void* row, const Location& location);

/// A shuffle of any type up to 8 bytes.
template <typename T>
T exchange(uint32_t mask, T value, int source_lane, const Location& location) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_exchange(mask, bits, source_lane, false, location);
  T result;
  std::memcpy(&result, &bits, sizeof(T));
  return result;
}

}  // namespace emulation
