#pragma once

#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/kernels/conv.h"
#include "tests/support/check_data.h"

namespace apotnet::test {

/// A convolution to be tested: the gradient checks and the comparisons of back ends come from the same list.
struct ConvProblem {
  std::string name;
  int64_t images, height, width, channels, outputs, kernel_h, kernel_w;
  Conv2dGeometry geometry;

  Shape x() const { return {images, height, width, channels}; }
  Shape w() const { return {outputs, kernel_h, kernel_w, channels / geometry.groups}; }
  Shape y() const {
    return {images, geometry.output_size(height, kernel_h), geometry.output_size(width, kernel_w), outputs};
  }
  std::string text() const {
    return apotnet::text(name, ": x ", x(), " w ", w(), " stride ", geometry.stride, " padding ", geometry.padding,
                         " groups ", geometry.groups);
  }
};

inline const std::vector<ConvProblem>& conv_problems() {
  static const std::vector<ConvProblem> problems{
      // name                    N  H  W  C  O KH KW  stride padding groups
      {"3x3", 2, 5, 7, 3, 4, 3, 3, {1, 1, 1}},
      {"3x3 stride 2", 2, 5, 7, 3, 4, 3, 3, {2, 1, 1}},
      {"3x3 stride cuts the edge", 1, 6, 8, 2, 3, 3, 3, {2, 0, 1}},
      {"3x3 padding 2", 1, 5, 7, 2, 3, 3, 3, {1, 2, 1}},
      {"1x1", 2, 5, 7, 5, 3, 1, 1, {1, 0, 1}},
      {"1x1 stride 2", 1, 5, 7, 4, 6, 1, 1, {2, 0, 1}},
      {"2x2", 1, 5, 7, 3, 2, 2, 2, {1, 0, 1}},
      {"2x2 stride 2 padding 1", 1, 5, 7, 3, 2, 2, 2, {2, 1, 1}},
      {"3x1", 1, 5, 7, 2, 3, 3, 1, {1, 0, 1}},
      {"7x7 stride 2", 1, 9, 11, 3, 2, 7, 7, {2, 3, 1}},
      {"groups 2", 1, 5, 7, 4, 6, 3, 3, {1, 1, 2}},
      {"depthwise", 2, 5, 7, 5, 5, 3, 3, {1, 1, 5}},
      {"depthwise stride 2", 1, 5, 7, 3, 3, 3, 3, {2, 1, 3}},
      {"one pixel, one channel", 1, 1, 1, 1, 1, 1, 1, {1, 0, 1}},
      {"kernel as large as the image", 2, 3, 3, 4, 2, 3, 3, {1, 0, 1}},
  };
  return problems;
}

/// Shapes at random within small limits: odd widths, few channels, batches with a remainder of the chunk size.
inline std::vector<ConvProblem> random_conv_problems(int count, uint64_t seed) {
  Philox random = random_numbers(seed);
  const auto between = [&](uint32_t low, uint32_t high) { return int64_t{low} + random.below(high - low + 1); };
  std::vector<ConvProblem> problems;
  while (static_cast<int>(problems.size()) < count) {
    ConvProblem p{
        apotnet::text("random ", problems.size()), between(1, 3), between(1, 13), between(1, 13), 1, 1, 1, 1, {}};
    const int64_t kernels[] = {1, 1, 2, 3, 3, 3, 5, 7};
    p.kernel_h = kernels[random.below(8)];
    p.kernel_w = random.below(4) ? p.kernel_h : kernels[random.below(8)];
    p.geometry.stride = between(1, 2);
    p.geometry.padding = between(0, 3);
    if (p.geometry.padding >= std::max(p.kernel_h, p.kernel_w)) p.geometry.padding = 0;
    switch (random.below(4)) {
      case 0: {  // depthwise
        p.channels = p.outputs = p.geometry.groups = between(1, 20);
        break;
      }
      case 1: {
        p.geometry.groups = between(2, 3);
        p.channels = p.geometry.groups * between(1, 6);
        p.outputs = p.geometry.groups * between(1, 6);
        break;
      }
      default:
        p.channels = between(1, 35);
        p.outputs = between(1, 35);
    }
    if (random.below(6) == 0) p.images = between(15, 35);  // more than one chunk of images, the last one smaller
    if (p.height + 2 * p.geometry.padding < p.kernel_h || p.width + 2 * p.geometry.padding < p.kernel_w) continue;
    if (p.x().elements() > 40000 || p.y().elements() * p.w().elements() / p.outputs > 3000000) continue;
    problems.push_back(p);
  }
  return problems;
}

}  // namespace apotnet::test
