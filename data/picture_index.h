#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "data/cut.h"
#include "data/image_folder.h"

namespace apotnet {

// A cache of pictures for repeated epochs: decoded, resized to one shorter side, each with a checksum, in one file that
// is mapped and not read. Numbers are little-endian:
//
//   "APOTPIX1"                                                                8 bytes
//   shorter side, classes, pictures, bytes of the class names                 4 x u64
//   CRC-32C of everything from here to the pixels, then 0                     2 x u32
//   class names, each ended by a line feed, filled with 0 to a multiple of 8
//   of each picture: where its pixels begin, height and width, label, CRC-32C u64, 2 x u16, 2 x u32
//   pixels, [height, width, 3] of each picture, one after the other

/// Writes the pictures of `folder` resized to the shorter side `resized`, in its order. `progress` is told how many are
/// done. The file appears when it is whole. Errors of PictureFolder::picture(), Error(cannot_write).
void write_picture_index(const std::filesystem::path& file, const PictureFolder& folder, int resized,
                         const std::function<void(int64_t done)>& progress = {});

/// The shorter side that the pictures of such a file were resized to. Errors of open_picture_index().
int resized_side_of(const std::filesystem::path& file);

/// The data set of such a file. Its cuts are those of the pictures' own files, bit for bit; random_resized_crop needs
/// these and is Error(configuration), as is another shorter side. Error(damaged_data) where the file contradicts
/// itself, and for a picture with a wrong checksum when it is read.
std::shared_ptr<const Dataset> open_picture_index(const std::filesystem::path& file, DatasetInfo info,
                                                  const PictureGeometry& geometry);

}  // namespace apotnet
