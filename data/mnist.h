#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"

namespace apotnet {

/// MNIST in its own format (idx, http://yann.lecun.com/exdb/mnist), 28 x 28 x 1: train-images-idx3-ubyte,
/// train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each also packed, with .gz behind its
/// name. `folder` holds them, or its folder mnist, or MNIST/raw (torchvision's).
///
/// An idx file is 0 0 8 (unsigned bytes), the number of dimensions, these as big-endian u32, and the bytes. Any number
/// of images is taken. Error(damaged_data) with file and reason; Error(input_missing) says what was looked for.
std::shared_ptr<const Dataset> read_mnist(const std::filesystem::path& folder, Split split);

/// What its images share; no split is named.
DatasetInfo mnist_info();

bool holds_mnist(const std::filesystem::path& folder);

}  // namespace apotnet
