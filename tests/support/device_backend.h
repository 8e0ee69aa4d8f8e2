#pragma once

#include "core/kernels/kernels.h"

namespace apotnet::test {

/// The CUDA kernels as the tests of the contract call a back end: with tensors of the host. Every call copies its
/// arguments to the device and its outputs back.
const Kernels& device_kernels_on_copies();

}  // namespace apotnet::test
