// Weight gradients of convolutions of images, against the reference.
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/step/step_kernels.h"
#include "tests/emulation/gradient_problems.h"
#include "tests/support/conv_problems.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// One channel to four, terms for all lanes and for few, tiles that the image does not fill, several outputs' blocks.
const std::vector<ConvProblem>& problems() {
  static const std::vector<ConvProblem> list{
      // name                    N   H   W  C  O KH KW  stride padding groups
      {"3x3", 3, 9, 35, 3, 16, 3, 3, {1, 1, 1}},
      {"3x3 stride 2", 2, 18, 67, 3, 32, 3, 3, {2, 1, 1}},
      {"5x5, one channel", 2, 17, 5, 1, 16, 5, 5, {1, 2, 1}},
      {"4x2, all lanes", 1, 8, 33, 4, 48, 4, 2, {1, 0, 1}},
      {"1x1", 2, 3, 40, 3, 16, 1, 1, {1, 0, 1}},
      {"3x3 stride cuts the edge", 2, 10, 12, 1, 16, 3, 3, {3, 0, 1}},
      {"more tiles than blocks", 531, 3, 2, 3, 16, 3, 3, {1, 1, 1}},
      {"groups of blocks, the last one small", 35, 2, 3, 1, 16, 1, 3, {1, 1, 1}},
  };
  return list;
}

}  // namespace

TEST_CASE("cuda: the weight gradient of a convolution of images") {
  cuda_device();
  for (size_t i = 0; i < problems().size(); ++i) {
    const ConvProblem& problem = problems()[i];
    INFO(problem.text());
    REQUIRE(cuda::is_of_images(problem.x(), problem.w(), problem.geometry));
    Philox random = random_numbers(650 + i);
    const Tensor x = random_tensor(problem.x(), DType::f32, random),
                 gy = random_tensor(problem.y(), DType::f32, random);
    Tensor expected(problem.w(), DType::f32);
    reference_kernels().conv->conv2d_backward_weight(gy, x, problem.geometry, expected);
    const Tensor device_x = to_device(x), device_gy = to_device(gy);
    const std::vector<Tensor> actual = same_in_every_order([&] {
      Tensor gw = device_tensor(problem.w(), DType::f32);
      cuda::launch_image_weight_gradient(device_gy, device_x, problem.geometry, gw);
      return std::vector{gw.on({})};
    });
    CHECK(relative_difference(actual[0], expected) < 2e-6);
  }
}

TEST_CASE("cuda: the weight gradient of a convolution of images, from the gradient behind its batch norm") {
  cuda_device();
  for (size_t i = 0; i < problems().size(); ++i) {
    const ConvProblem& problem = problems()[i];
    INFO(problem.text());
    Philox random = random_numbers(680 + i);
    const Tensor x = to_device(random_tensor(problem.x(), DType::f32, random)),
                 g = to_device(
                     as_type(random_tensor(problem.y(), DType::f32, random), i % 2 ? DType::f32 : DType::bf16)),
                 y = to_device(random_tensor(problem.y(), DType::f32, random)),
                 coefficients = to_device(random_tensor({problem.outputs, 3}, DType::f32, random));
    const cuda::NormInputGradient gradient{g, {.values = y, .sums = {}, .norm = {}}, coefficients};
    Tensor gy = device_tensor(problem.y(), DType::f32), expected = device_tensor(problem.w(), DType::f32),
           gw = device_tensor(problem.w(), DType::f32);
    cuda::launch_norm_input_gradient(gradient, gy);
    cuda::launch_image_weight_gradient(gy, x, problem.geometry, expected);
    cuda::launch_image_weight_gradient(gradient, x, problem.geometry, gw);
    CHECK(same_bits(gw.on({}), expected.on({})));
  }
}

TEST_CASE("cuda: the first convolution by itself, as chains compute it") {
  cuda_device();
  const std::vector<ConvProblem> list{
      {"3x3", 3, 9, 35, 3, 16, 3, 3, {1, 1, 1}},
      {"3x3 of four channels", 1, 32, 32, 4, 16, 3, 3, {1, 1, 1}},
      {"5x5, one channel", 2, 17, 5, 1, 16, 5, 5, {1, 2, 1}},
      {"1x1", 2, 3, 40, 2, 16, 1, 1, {1, 0, 1}},
  };
  for (size_t i = 0; i < list.size(); ++i) {
    const ConvProblem& problem = list[i];
    INFO(problem.text());
    const bool fits = cuda::fits_image_chain(problem.x(), problem.w(), problem.geometry);
    CHECK(fits == (problem.channels * problem.kernel_h * problem.kernel_w <= 32));
    if (!fits) continue;
    Philox random = random_numbers(690 + i);
    const Tensor x = random_tensor(problem.x(), DType::f32, random), w = random_tensor(problem.w(), DType::f32, random);
    Tensor expected(problem.y(), DType::f32);
    reference_kernels().conv->conv2d(x, w, problem.geometry, expected);
    const Tensor device_x = to_device(x), device_w = to_device(w);
    const std::vector<Tensor> actual = same_in_every_order([&] {
      Tensor y = device_tensor(problem.y(), DType::f32);
      cuda::launch_image_convolution(device_x, device_w, problem.geometry, y);
      return std::vector{y.on({})};
    });
    CHECK(relative_difference(actual[0], expected) < 2e-6);
  }
  CHECK_FALSE(cuda::fits_image_chain({2, 33, 33, 3}, {16, 3, 3, 3}, {1, 1, 1}));
  CHECK_FALSE(cuda::fits_image_chain({2, 32, 32, 3}, {32, 3, 3, 3}, {1, 1, 1}));
  CHECK_FALSE(cuda::fits_image_chain({2, 32, 32, 3}, {16, 3, 3, 3}, {2, 1, 1}));
  CHECK_FALSE(cuda::fits_image_chain({2, 32, 32, 3}, {16, 3, 3, 3}, {1, 0, 1}));
}

TEST_CASE("cuda: convolutions that are not of images") {
  CHECK(cuda::is_of_images({128, 32, 32, 3}, {16, 3, 3, 3}, {1, 1, 1}));
  CHECK_FALSE(cuda::is_of_images({8, 224, 224, 3}, {64, 7, 7, 3}, {2, 3, 1}));
  CHECK_FALSE(cuda::is_of_images({8, 32, 32, 3}, {24, 3, 3, 3}, {1, 1, 1}));
  CHECK_FALSE(cuda::is_of_images({8, 32, 32, 16}, {16, 3, 3, 1}, {1, 1, 16}));
  CHECK_FALSE(cuda::is_of_images({8, 56, 56, 16}, {96, 1, 1, 16}, {1, 0, 1}));
  CHECK_FALSE(cuda::is_of_images({8, 512, 512, 3}, {16, 3, 3, 3}, {9, 1, 1}));
  CHECK_FALSE(cuda::is_of_images({8, 64, 64, 1}, {4096, 3, 3, 1}, {1, 1, 1}));
}
