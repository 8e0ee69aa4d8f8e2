#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "core/base/parallel.h"
#include "core/kernels/cpu/few_channels.h"
#include "core/kernels/kernels.h"

using namespace apotnet;

TEST_CASE("kernels: the first layer's convolution equals the reference, whatever the batch") {
  std::mt19937 random(40);
  std::normal_distribution<float> normal;
  const auto filled = [&](const Shape& shape) {
    Tensor tensor(shape, DType::f32);
    for (float& value : tensor.data<float>()) value = normal(random);
    return tensor;
  };
  for (int round = 0; round < 200; ++round) {
    const int64_t kernel = 1 + 2 * static_cast<int64_t>(random() % 4),
                  channels = 1 + static_cast<int64_t>(random() % 4);
    const Conv2dGeometry geometry{1 + static_cast<int64_t>(random() % 2),
                                  static_cast<int64_t>(random() % 2) * (kernel / 2), 1};
    const int64_t height = kernel + static_cast<int64_t>(random() % 9),
                  width = kernel + static_cast<int64_t>(random() % 13);
    const int64_t outputs = 16 * (1 + static_cast<int64_t>(random() % 3)),
                  images = 1 + static_cast<int64_t>(random() % 3);
    const Tensor x = filled({images, height, width, channels}), w = filled({outputs, kernel, kernel, channels});
    REQUIRE(fits_few_channels(x, w, geometry));
    Tensor y({images, geometry.output_size(height, kernel), geometry.output_size(width, kernel), outputs}, DType::f32);
    Tensor wanted = y.clone();
    few_channels_conv2d(x, w, geometry, y);
    reference_kernels().conv->conv2d(x, w, geometry, wanted);
    double error = 0, largest = 0;
    for (size_t i = 0; i < y.data<float>().size(); ++i) {
      const double value = wanted.data<float>()[i];
      error = std::max(error, std::abs(y.data<float>()[i] - value));
      largest = std::max(largest, std::abs(value));
    }
    CHECK(error <= 1e-5 * largest);  // float32 sums of up to 196 products against sums in double

    Tensor one({1, height, width, channels}, DType::f32), alone({1, y.size(1), y.size(2), outputs}, DType::f32);
    std::ranges::copy(x.data<float>().last(one.data<float>().size()), one.data<float>().begin());
    few_channels_conv2d(one, w, geometry, alone);
    CHECK(std::ranges::equal(alone.data<float>(), y.data<float>().last(alone.data<float>().size())));
  }
}
