#pragma once

#ifdef __CUDACC__
#include <cooperative_groups.h>
#endif

#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {

/// Where all blocks of a launch meet that run together: what they have written before they arrive is seen by those that
/// have waited. All threads call both, one after the other; between them is time for work that needs no other block.
class GridBarrier {
 public:
#ifdef __CUDACC__
  /// A barrier of the block, too.
  __device__ void arrive() {
#if CUDART_VERSION >= 13000
    token_ = cooperative_groups::this_grid().barrier_arrive();
#else
    __syncthreads();
#endif
  }
  __device__ void wait() {
#if CUDART_VERSION >= 13000
    cooperative_groups::this_grid().barrier_wait(static_cast<unsigned&&>(token_));
#else
    cooperative_groups::this_grid().sync();
#endif
  }

 private:
  unsigned token_ = 0;
#else
  using Location = emulation::Location;
  void arrive(const Location& location = Location::current()) {
    emulation::block_barrier(location);
    emulation::grid_arrive(location);
  }
  void wait(const Location& location = Location::current()) { emulation::grid_wait(location); }
#endif
};

}  // namespace apotnet::cuda
