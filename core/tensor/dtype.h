#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace apotnet {

/// Element types. i64 exists for files (labels, batch counters); computations use the others.
enum class DType : uint8_t { f64, f32, bf16, u8, s8, s16, s32, i64 };

/// Bit pattern of a bfloat16: the upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

size_t size_of(DType dtype);
std::string_view name_of(DType dtype);

template <typename T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<BFloat16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::s8;
}
template <>
constexpr DType dtype_of<int16_t>() {
  return DType::s16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::s32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::i64;
}

inline bool is_floating(DType dtype) { return dtype == DType::f64 || dtype == DType::f32; }

}  // namespace apotnet
