#pragma once

#ifdef __CUDACC__
#include <cooperative_groups.h>
#endif

#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {

/// All threads of all blocks wait here for each other, and then see what the others have written. Of a launch whose
/// blocks run together, and for all of its threads.
#ifdef __CUDACC__
__device__ inline void grid_barrier() { cooperative_groups::this_grid().sync(); }
#else
inline void grid_barrier(const emulation::Location& location = emulation::Location::current()) {
  emulation::grid_barrier(location);
}
#endif

}  // namespace apotnet::cuda
