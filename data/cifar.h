#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"

namespace apotnet {

/// CIFAR-10 and CIFAR-100 in their binary versions (https://www.cs.toronto.edu/~kriz/cifar.html), 32 x 32 x 3.
///
/// A record is the label byte (CIFAR-100: coarse, then fine; the fine one is used) and 3 planes of 1024 bytes: red,
/// green, blue. CIFAR-10: data_batch_1.bin .. data_batch_5.bin and test_batch.bin; CIFAR-100: train.bin and test.bin.
/// `folder` holds these files or the folder cifar-10-batches-bin (cifar-100-binary) that the archive unpacks to.
///
/// Every size and label is checked: Error(damaged_data) names file and record. Any whole number of records is taken, so
/// that small excerpts can be used. Error(input_missing) says which file was looked for, where, and how to get it.
/// Class names come from batches.meta.txt (fine_label_names.txt) when it is there.
std::shared_ptr<const Dataset> read_cifar10(const std::filesystem::path& folder, Split split);
std::shared_ptr<const Dataset> read_cifar100(const std::filesystem::path& folder, Split split);

/// What their images share, without reading any file: the class names are the built-in ones, no split is named.
DatasetInfo cifar10_info();
DatasetInfo cifar100_info();

DatasetArchive cifar10_archive();
DatasetArchive cifar100_archive();

/// Whether any of the files is in `folder`, directly or in the archive's own folder.
bool holds_cifar10(const std::filesystem::path& folder);
bool holds_cifar100(const std::filesystem::path& folder);

}  // namespace apotnet
