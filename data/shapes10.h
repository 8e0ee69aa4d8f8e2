#pragma once

#include <cstdint>
#include <memory>

#include "data/dataset.h"

namespace apotnet {

/// Ten drawn classes, 32 x 32 x 3, made from the seed: no file, no download.
///
///   circle ring square frame triangle cross plus horizontal vertical checker
///
/// Position, size, small rotation, the two colours, a background gradient and noise are random, so neither colour nor
/// any one pixel tells the class. Image `index` of a split is a function of (seed, split, index): the same on every
/// machine and thread count, whatever `count` is. Each ten images in a row hold each class once, in random order.
/// An image is drawn when it is first read, and kept: 3 KiB each. Error(configuration) unless 1 <= count <= 1,000,000.
std::shared_ptr<const Dataset> draw_shapes10(uint64_t seed, Split split, int64_t count);

/// What its images share; no split is named.
DatasetInfo shapes10_info();

}  // namespace apotnet
