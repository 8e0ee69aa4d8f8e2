#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "core/base/error.h"
#include "core/kernels/cuda/convolution_plan.h"
#include "tests/emulation/runtime.h"

// What the twins of cuDNN and cuBLAS share: looking at memory by a description, and refusing what a device would.
namespace emulation {

using apotnet::BFloat16;
using apotnet::DType;
using apotnet::cuda::Arithmetic;

inline void require_device_memory(const void* place, size_t bytes, const char* what) {
  const std::byte* const end = end_of_block(place);
  apotnet::require(end != nullptr, what, " does not lie in device memory");
  apotnet::require(reinterpret_cast<uintptr_t>(place) % 16 == 0, what, " is not aligned to 16 bytes");
  apotnet::require(static_cast<const std::byte*>(place) + bytes <= end, what, " needs ", bytes,
                   " bytes, but its block ends after ", end - static_cast<const std::byte*>(place));
}

inline void require_success(cudaError_t error) {
  apotnet::require(error == cudaSuccess, "a library call could not be queued: error ", static_cast<int>(error));
}

/// The upper `bits` of a float's fraction, to the nearest even.
inline double rounded_to(float value, int bits) {
  const int dropped = 23 - bits;
  const auto pattern = std::bit_cast<uint32_t>(value);
  const uint32_t half = (uint32_t{1} << (dropped - 1)) - 1 + (pattern >> dropped & 1);
  return std::bit_cast<float>((pattern + half) >> dropped << dropped);
}

/// A factor as the arithmetic sees it.
inline double rounded(double value, Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::f32 || !std::isfinite(value)) return value;
  return rounded_to(static_cast<float>(value), arithmetic == Arithmetic::tf32 ? 10 : 7);
}

inline double read(const void* data, DType dtype, int64_t i) {
  if (dtype == DType::f32) return static_cast<const float*>(data)[i];
  return std::bit_cast<float>(uint32_t{static_cast<const BFloat16*>(data)[i].bits} << 16);
}

inline void write(void* data, DType dtype, int64_t i, double value) {
  if (dtype == DType::f32) {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  } else {
    const auto bits = std::bit_cast<uint32_t>(static_cast<float>(rounded_to(static_cast<float>(value), 7)));
    static_cast<BFloat16*>(data)[i].bits = static_cast<uint16_t>(bits >> 16);
  }
}

}  // namespace emulation
