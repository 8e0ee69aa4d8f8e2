#pragma once

#include "core/base/error.h"
#include "core/tensor/dtype.h"

namespace apotnet {

/// Calls f with a zero of the C++ type of `dtype`, f32 or f64:
///   dispatch_float(x.dtype(), [&](auto zero) { using Float = decltype(zero); ... });
template <typename F>
void dispatch_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      f(float{});
      return;
    case DType::f64:
      f(double{});
      return;
    default:
      fail(ErrorCategory::internal, "expected f32 or f64, got ", name_of(dtype));
  }
}

/// The same for every element type but bf16.
template <typename F>
void dispatch_any(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      f(float{});
      return;
    case DType::f64:
      f(double{});
      return;
    case DType::u8:
      f(uint8_t{});
      return;
    case DType::s8:
      f(int8_t{});
      return;
    case DType::s16:
      f(int16_t{});
      return;
    case DType::s32:
      f(int32_t{});
      return;
    case DType::i64:
      f(int64_t{});
      return;
    case DType::bf16:
      break;
  }
  fail(ErrorCategory::internal, "no plain C++ type for ", name_of(dtype));
}

}  // namespace apotnet
