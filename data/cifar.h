#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"

namespace apotnet {

/// CIFAR-10 and CIFAR-100 in their binary form: records of a label byte (CIFAR-100: coarse and fine, the fine one
/// counts) and 3,072 bytes of 32x32 planes in red, green, blue. `folder` holds the .bin files, or the folder of the
/// archive that does
/// ("cifar-10-batches-bin", "cifar-100-binary"). Every size and label is checked.
/// Error(input_missing) says what was looked for and where to get it; Error(damaged_data) names file and record.
std::shared_ptr<Dataset> open_cifar10(const std::string& folder, Split split);
std::shared_ptr<Dataset> open_cifar100(const std::string& folder, Split split);

/// Whether the files of either lie in `folder` (as above).
bool holds_cifar10(const std::string& folder);
bool holds_cifar100(const std::string& folder);

}  // namespace apotnet
