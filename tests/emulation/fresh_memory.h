#pragma once

#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/context.h"

namespace apotnet::test {

/// While one lives, memory of the device is NaN before its first write.
class FreshMemory {
 public:
  FreshMemory() {
    cuda_device();
    cuda::Context::get().set_fill_fresh_memory(true);
  }
  ~FreshMemory() { cuda::Context::get().set_fill_fresh_memory(false); }
  FreshMemory(const FreshMemory&) = delete;
  FreshMemory& operator=(const FreshMemory&) = delete;
};

}  // namespace apotnet::test
