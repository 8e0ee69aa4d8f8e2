#pragma once

#include <memory>

#include "data/dataset.h"

namespace apotnet {

/// A built-in data set for a first run without files or downloads: 32x32 colour pictures of ten drawn classes (disc,
/// ring, square, frame, triangle, cross, plus, horizontal stripes, vertical stripes, checkerboard) of random place,
/// size, turn and colours on a shaded, noisy background. Colour says nothing about the class. A pure function of (seed,
/// split, index); labels are balanced.
std::shared_ptr<Dataset> make_shapes10(Split split, int64_t count, uint64_t seed);

}  // namespace apotnet
