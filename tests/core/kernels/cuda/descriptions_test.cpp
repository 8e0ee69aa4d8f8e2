// Descriptions of the vendors' work: what is derived from shapes, and that contradictions are refused.
#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include "core/base/error.h"
#include "core/kernels/cuda/convolution_plan.h"
#include "core/kernels/cuda/gemm.h"

using namespace apotnet;
using namespace apotnet::cuda;

TEST_CASE("cuda descriptions: a convolution of channels-last tensors") {
  const ConvolutionDescription c =
      describe_convolution(ConvolutionOperation::weight_gradient, Arithmetic::bf16, Shape{8, 33, 17, 24},
                           Shape{40, 3, 5, 12}, {.stride = 2, .padding = 1, .groups = 2}, DType::f32);
  CHECK(c.x.sizes == std::array<int64_t, 4>{8, 24, 33, 17});
  CHECK(c.x.strides == std::array<int64_t, 4>{33 * 17 * 24, 1, 17 * 24, 24});
  CHECK(c.w.sizes == std::array<int64_t, 4>{40, 12, 3, 5});
  CHECK(c.w.strides == std::array<int64_t, 4>{3 * 5 * 12, 1, 5 * 12, 12});
  CHECK(c.y.sizes == std::array<int64_t, 4>{8, 40, 17, 8});
  CHECK(c.x.dtype == DType::bf16);
  CHECK(c.y.dtype == DType::bf16);
  CHECK(c.w.dtype == DType::f32);
  CHECK(&c.output() == &c.w);
  CHECK(c.text() == "weight_gradient bf16 to f32, x 8x24x33x17, w 40x12x3x5, padding 1x1, stride 2x2, groups 2");
}

TEST_CASE("cuda descriptions: a convolution that contradicts itself is refused") {
  const ConvolutionDescription good = describe_convolution(
      ConvolutionOperation::forward, Arithmetic::tf32, Shape{4, 8, 8, 16}, Shape{32, 3, 3, 16}, {1, 1, 1}, DType::f32);
  using Change = std::function<void(ConvolutionDescription&)>;
  const std::vector<Change> changes{
      [](auto& c) { c.w.id = c.x.id; },
      [](auto& c) { c.x.sizes[0] = 0; },
      [](auto& c) { c.y.sizes[0] = 5; },
      [](auto& c) { c.y.sizes[2] = 9; },
      [](auto& c) { c.groups = 2; },
      [](auto& c) { c.y.sizes[1] = 31; },
      [](auto& c) { c.x.strides[3] = 15; },
      [](auto& c) {
        c.y.strides = {2048, 1, 256, 31};
      },
      [](auto& c) { c.y.dtype = DType::bf16; },
      [](auto& c) { c.x.dtype = DType::bf16; },
      [](auto& c) { c.stride[1] = 0; },
      [](auto& c) { c.padding[0] = -1; },
      [](auto& c) {
        c.stride = {2, 2};
      },
  };
  CHECK_NOTHROW(check_description(good));
  for (size_t i = 0; i < changes.size(); ++i) {
    ConvolutionDescription changed = good;
    changes[i](changed);
    CHECK_THROWS_AS_MESSAGE(check_description(changed), Error, "change ", i);
  }
  ConvolutionDescription with_gaps = good;  // rows of 20 channels, 16 of them used
  with_gaps.x.strides = {8 * 8 * 20, 1, 8 * 20, 20};
  CHECK_NOTHROW(check_description(with_gaps));
}

TEST_CASE("cuda descriptions: products of matrices") {
  const GemmDescription product = describe_gemm(Arithmetic::tf32, 5, 7, 3, true, false);
  CHECK(product.a_stride == 5);  // stored [3, 5]
  CHECK(product.b_stride == 7);
  CHECK(product.c_stride == 7);
  const auto refused = [&](auto change) {
    GemmDescription changed = product;
    change(changed);
    CHECK_THROWS_AS(check_description(changed), Error);
  };
  refused([](auto& d) { d.m = 0; });
  refused([](auto& d) { d.a_stride = 4; });
  refused([](auto& d) { d.b_stride = 6; });
  refused([](auto& d) { d.c_stride = 6; });
  refused([](auto& d) { d.output = DType::bf16; });
  refused([](auto& d) { d.k = int64_t{1} << 31; });
}
