// Which plans are made for convolutions, in emulation.
#include "core/kernels/cuda/plans.h"

#include <algorithm>

#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/kernels.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;
using cuda::kCuda;

namespace {

// Of the gradient of weights on the device from that of the reference, relative to the largest.
double error_of_weight_gradient(int64_t images, int64_t groups) {
  Philox random = random_numbers(401);
  const Conv2dGeometry geometry{1, 0, groups};
  Tensor x({images, 2, 2, 4}, DType::f32), gy({images, 2, 2, 4}, DType::f32);
  for (Tensor* tensor : {&x, &gy})
    for (float& value : tensor->data<float>()) value = static_cast<float>(random.normal());
  cuda_device();
  Tensor wanted({4, 1, 1, 4 / groups}, DType::f32), found = Tensor(wanted.shape(), DType::f32, kCuda);
  reference_kernels().conv->conv2d_backward_weight(gy, x, geometry, wanted);
  cuda::CudaConv().conv2d_backward_weight(gy.on(kCuda), x.on(kCuda), geometry, found);
  double error = 0, largest = 0;
  for (size_t i = 0; i < doubles(wanted).size(); ++i) {
    error = std::max(error, std::abs(doubles(found.on({}))[i] - doubles(wanted)[i]));
    largest = std::max(largest, std::abs(doubles(wanted)[i]));
  }
  return error / largest;
}

}  // namespace

TEST_CASE("cuda: gradients are tf32, and float32 in groups or where no tf32 kernel is to be had") {
  CHECK(error_of_weight_gradient(100, 1) > 1e-5);  // the rounding of tf32 shows
  CHECK(error_of_weight_gradient(100, 4) < 1e-6);
  CHECK(error_of_weight_gradient(1000, 1) < 1e-6);  // the twin has none for that many images
}

TEST_CASE("cuda: the engine of an earlier run is taken again, that of float32 in the place of tf32 too") {
  cuda::prefer_engines({});
  const cuda::Engines before = cuda::chosen_engines();
  for (const int64_t images : {101, 1001}) {  // shapes that nobody else asks for
    CAPTURE(images);
    error_of_weight_gradient(images, 1);
    cuda::Engines found = cuda::chosen_engines();
    std::erase_if(found, [&](const auto& item) { return before.contains(item.first); });
    const auto own = std::ranges::find_if(
        found, [&](const auto& item) { return item.first.find(std::to_string(images) + "x") != std::string::npos; });
    REQUIRE(own != found.end());
    CHECK(own->second == (images > 1000 ? "twin:f32:1" : "twin:1"));
    const std::string other = images > 1000 ? "twin:f32:2" : "twin:2";
    cuda::prefer_engines({{own->first, other}});
    error_of_weight_gradient(images, 1);
    CHECK(cuda::chosen_engines().at(own->first) == other);
  }
  cuda::prefer_engines({});
}
