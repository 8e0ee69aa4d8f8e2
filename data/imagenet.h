#pragma once

#include <filesystem>
#include <memory>

#include "data/image_folder.h"

namespace apotnet {

/// ImageNet, or any pictures laid out like it: FOLDER/train/CLASS/*.JPEG and FOLDER/val/CLASS/*.JPEG, where FOLDER may
/// also be the folder `imagenet` in the one given. In place of a split's folder there may be its cache,
/// FOLDER/train.pictures (write_picture_index()), which is taken where both are there. The split `test` is val.
/// Classes are the class folders, sorted; whether both splits have the same ones is for their user to compare.
/// Error(input_missing) where the split is not there.
std::shared_ptr<const Dataset> read_imagenet(const std::filesystem::path& folder, Split split,
                                             const PictureOptions& options);

/// What its images share: 224 x 224 from pictures resized to 256, and the 1,000 names of the classes of the 2012
/// challenge in the order of their folders.
DatasetInfo imagenet_info();

/// Whether a split is in `folder`, directly or in its folder `imagenet`.
bool holds_imagenet(const std::filesystem::path& folder);

/// The pictures of a split and the file that their cache is to be. Error(input_missing).
struct PictureSplit {
  std::filesystem::path folder, cache;
};
PictureSplit imagenet_split(const std::filesystem::path& folder, Split split);

}  // namespace apotnet
