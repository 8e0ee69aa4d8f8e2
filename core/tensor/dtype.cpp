#include "core/tensor/dtype.h"

#include "core/base/error.h"

namespace apotnet {

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::s32:
      return 4;
    case DType::bf16:
    case DType::s16:
      return 2;
    case DType::u8:
    case DType::s8:
      return 1;
  }
  fail(ErrorCategory::internal, "unknown element type ", static_cast<int>(dtype));
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::u8:
      return "u8";
    case DType::s8:
      return "s8";
    case DType::s16:
      return "s16";
    case DType::s32:
      return "s32";
    case DType::i64:
      return "i64";
  }
  return "?";
}

}  // namespace apotnet
