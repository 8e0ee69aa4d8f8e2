#include "core/io/layout.h"

#include <doctest/doctest.h>

#include <cstring>

using namespace apotnet;

namespace {

constexpr int64_t kA = 2, kB = 3, kC = 4, kD = 5;

// Elements numbered in order, as small as every type holds them.
Tensor numbered(const Shape& shape, DType dtype) {
  Tensor result = Tensor::zeros(shape, dtype);
  for (int64_t i = 0; i < result.elements(); ++i) {
    const auto value = static_cast<uint8_t>(i);
    std::memcpy(result.raw() + static_cast<size_t>(i) * size_of(dtype), &value, 1);
  }
  return result;
}

uint8_t at(const Tensor& x, int64_t a, int64_t b, int64_t c, int64_t d) {
  const int64_t index = ((a * x.size(1) + b) * x.size(2) + c) * x.size(3) + d;
  return static_cast<uint8_t>(x.raw()[static_cast<size_t>(index) * size_of(x.dtype())]);
}

}  // namespace

TEST_CASE("layouts exchange as their names say, for every element type, and back") {
  for (const DType dtype :
       {DType::f64, DType::f32, DType::bf16, DType::u8, DType::s8, DType::s16, DType::s32, DType::i64}) {
    CAPTURE(name_of(dtype));
    const Tensor foreign = numbered({kA, kB, kC, kD}, dtype);
    for (const Tensor& ours : {weight_from_pytorch(foreign), activation_from_pytorch(foreign)}) {
      REQUIRE(ours.shape() == Shape{kA, kC, kD, kB});
      REQUIRE(ours.dtype() == dtype);
      bool same = true;
      for (int64_t a = 0; a < kA; ++a)
        for (int64_t b = 0; b < kB; ++b)
          for (int64_t c = 0; c < kC; ++c)
            for (int64_t d = 0; d < kD; ++d) same = same && at(ours, a, c, d, b) == at(foreign, a, b, c, d);
      CHECK(same);
      CHECK(std::memcmp(weight_to_pytorch(ours).raw(), foreign.raw(), foreign.bytes()) == 0);
      CHECK(std::memcmp(activation_to_pytorch(ours).raw(), foreign.raw(), foreign.bytes()) == 0);
    }
  }
}

TEST_CASE("tensors that are not four-dimensional, and empty ones, pass") {
  CHECK(weight_from_pytorch(numbered({3, 2}, DType::f32)).shape() == Shape{3, 2});
  CHECK(activation_to_pytorch(Tensor::scalar(1, DType::f32)).shape() == Shape{});
  CHECK(weight_from_pytorch(Tensor::zeros({2, 0, 3, 3}, DType::f32)).shape() == Shape{2, 3, 3, 0});
}
