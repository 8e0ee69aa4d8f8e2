// The first convolution by itself: evaluation, and steps whose chains do not compute it, or that have none.
#include "core/kernels/cuda/step/image_convolution.h"

#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/step/image_layout.h"

namespace apotnet::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
    image_convolution_kernel(ConvolutionSizes sizes, const float* x, const float* w, float* y) {
  using Quad = Pack<float, 4>;
  SHARED_ARRAY(Quad, room, (kImageWeights + kImageBox) / 4);
  float* const weights = room[0].values;
  stage_image(sizes, x, w, static_cast<int>(blockIdx.x), weights, weights + kImageWeights);
  __syncthreads();
  constexpr int kQuads = kImageOutputs / 4;
  const int pixels = sizes.height * sizes.width;
  for (int n = static_cast<int>(threadIdx.x); n < pixels * kQuads; n += kThreads) {
    const int pixel = n / kQuads, channel = n % kQuads * 4, row = pixel / sizes.width;
    const Quad sums = image_product(sizes, weights + channel, weights + kImageWeights, row, pixel - row * sizes.width);
    store(y, (int64_t{blockIdx.x} * pixels + pixel) * kImageOutputs + channel, sums);
  }
}

}  // namespace

bool fits_image_chain(const Shape& x, const Shape& w, const Conv2dGeometry& geometry) {
  if (!is_of_images(x, w, geometry) || geometry.stride != 1 || w[0] != kImageOutputs ||
      w[1] != 2 * geometry.padding + 1 || w[2] != w[1])
    return false;
  return w[1] * w[2] * w[3] <= kImageTerms && x[1] * x[2] <= pixels_of_block(kImageOutputs) &&
         (x[1] + 2 * geometry.padding) * (x[2] + 2 * geometry.padding) * x[3] <= kImageBox;
}

void launch_image_convolution(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) {
  require(fits_image_chain(x.shape(), w.shape(), geometry), "not a first convolution: ", x.shape(), " by ", w.shape());
  const ConvolutionSizes sizes = sizes_of(x.shape(), w.shape(), geometry);
  require(x.size(3) == w.size(3) && y.shape() == Shape{x.size(0), x.size(1), x.size(2), kImageOutputs},
          "a first convolution of ", x.shape(), " by ", w.shape(), " into ", y.shape());
  launch({"image convolution", x.bytes() + w.bytes(), y.bytes()}, image_convolution_kernel,
         static_cast<unsigned>(sizes.images), sizes, input<float>(x), input<float>(w), output<float>(y));
}

}  // namespace apotnet::cuda
