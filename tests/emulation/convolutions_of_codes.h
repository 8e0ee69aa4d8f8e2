#pragma once

#include "tests/support/conv_problems.h"

namespace apotnet::test {

/// Convolutions that the forward kernels of a fused step take, each shape of tile and way of staging among them.
inline const std::vector<ConvProblem>& convolutions_of_codes() {
  static const std::vector<ConvProblem> list{
      // name                      N  H  W   C   O KH KW  stride padding
      {"16 to 16", 2, 9, 7, 16, 16, 3, 3, {1, 1, 1}},
      {"several tiles", 1, 21, 40, 16, 16, 3, 3, {1, 1, 1}},
      {"32 to 32", 3, 6, 5, 32, 32, 3, 3, {1, 1, 1}},
      {"64 to 64", 2, 8, 8, 64, 64, 3, 3, {1, 1, 1}},
      {"64 to 64, in stages", 1, 14, 16, 64, 64, 3, 3, {1, 1, 1}},
      {"16 to 32, stride 2", 2, 17, 12, 16, 32, 3, 3, {2, 1, 1}},
      {"32 to 64, stride 2, even", 1, 18, 16, 32, 64, 3, 3, {2, 1, 1}},
      {"stride 2 leaves an edge", 1, 12, 22, 16, 16, 3, 3, {2, 0, 1}},
      {"48 to 48", 1, 7, 9, 48, 48, 3, 3, {1, 1, 1}},
      {"48 to 80", 2, 5, 6, 48, 80, 3, 3, {1, 1, 1}},
      {"128 to 144", 1, 7, 7, 128, 144, 3, 3, {1, 1, 1}},
      {"1x1", 2, 13, 11, 32, 16, 1, 1, {1, 0, 1}},
      {"1x1, stride 2", 2, 13, 32, 32, 64, 1, 1, {2, 0, 1}},
      {"1x1, stride 2, several tiles", 1, 34, 35, 16, 64, 1, 1, {2, 0, 1}},
      {"1x1, padding", 1, 11, 15, 16, 48, 1, 1, {1, 1, 1}},
      {"1x1, stride 3, padding", 1, 11, 31, 16, 64, 1, 1, {3, 1, 1}},
      {"2x2, stride 2, padding", 1, 9, 11, 16, 16, 2, 2, {2, 1, 1}},
      {"3x1", 1, 6, 9, 16, 32, 3, 1, {1, 0, 1}},
      {"1x5", 1, 6, 70, 16, 16, 1, 5, {1, 2, 1}},
      {"5x5", 1, 9, 20, 32, 64, 5, 5, {1, 2, 1}},
      {"7x7, taps in stages", 1, 10, 9, 16, 64, 7, 7, {1, 3, 1}},
      {"7x7, stride 2", 1, 15, 16, 32, 16, 7, 7, {2, 3, 1}},
      {"wide", 1, 2, 300, 16, 16, 3, 3, {1, 1, 1}},
      {"tall", 1, 150, 3, 16, 64, 3, 3, {1, 1, 1}},
      {"one pixel", 3, 1, 1, 16, 16, 1, 1, {1, 0, 1}},
      {"kernel as large as the image", 2, 3, 3, 32, 16, 3, 3, {1, 0, 1}},
      {"many images", 70, 8, 8, 16, 64, 1, 1, {1, 0, 1}},
      {"large tiles", 256, 11, 12, 16, 16, 1, 1, {1, 0, 1}},
      {"large tiles of many channels", 256, 9, 9, 16, 64, 1, 1, {1, 0, 1}},
  };
  return list;
}

}  // namespace apotnet::test
