#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace apotnet {

/// The picture files below a folder of class folders, in the order of torchvision's ImageFolder.
struct PictureList {
  struct Picture {
    std::string path;  ///< relative to the folder: "n01440764/n01440764_10026.JPEG"
    int label = 0;     ///< the number of its class folder
  };

  std::vector<std::string> class_names;  ///< names of the class folders, sorted by their bytes
  std::vector<Picture> pictures;         ///< class by class; in a class folder by folder, then by name
  int64_t other_files = 0;               ///< in class folders without a picture's extension, left out
  std::string first_other;               ///< the first of them
};

/// Files ending in .jpg, .jpeg, .png and .bmp, in any case; links are followed. Error(input_missing) when there is no
/// such folder, it cannot be read, has no class folders, or one of these holds no picture.
PictureList list_pictures(const std::filesystem::path& folder);

/// Whether the name ends in an extension of those.
bool is_picture_name(const std::string& name);

}  // namespace apotnet
