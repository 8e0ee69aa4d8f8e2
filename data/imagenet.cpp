#include "data/imagenet.h"

#include <algorithm>

#include "core/base/error.h"
#include "data/imagenet_classes.h"
#include "data/picture_index.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOwnFolder = "imagenet";

std::string folder_of(Split split) { return split == Split::train ? "train" : "val"; }
std::string cache_of(Split split) { return folder_of(split) + ".pictures"; }

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool holds(const fs::path& folder, Split split) {
  std::error_code ignored;
  return is_there(folder / cache_of(split)) || fs::is_directory(folder / folder_of(split), ignored);
}

bool holds_any(const fs::path& folder) { return holds(folder, Split::train) || holds(folder, Split::test); }

fs::path root_of(const fs::path& given) {
  return !holds_any(given) && holds_any(given / kOwnFolder) ? given / kOwnFolder : given;
}

[[noreturn]] void refuse(const fs::path& root, Split split) {
  fail(ErrorCategory::input_missing, "imagenet: no ", folder_of(split), " in ", root.string(), "; expected ",
       (root / folder_of(split)).string(), "/CLASS/picture.jpg; name the folder with --data imagenet:DIR");
}

}  // namespace

std::shared_ptr<const Dataset> read_imagenet(const fs::path& folder, Split split, const PictureOptions& options) {
  const fs::path root = root_of(folder);
  if (!holds(root, split)) refuse(root, split);
  DatasetInfo info = imagenet_info();
  info.split_name = name_of(split);
  if (const fs::path cache = root / cache_of(split); is_there(cache)) {
    PictureGeometry geometry = options.geometry;
    if (options.as_indexed) geometry.resized = resized_side_of(cache);
    if (options.as_indexed) geometry.size = std::min(geometry.size, geometry.resized);
    return open_picture_index(cache, std::move(info), geometry);
  }
  return open_image_folder(root / folder_of(split), std::move(info), options);
}

DatasetInfo imagenet_info() {
  const PictureGeometry geometry;
  return {.name = "imagenet",
          .split_name = "",
          .class_names = imagenet_class_names(),
          .height = geometry.size,
          .width = geometry.size,
          .channels = 3,
          .mean = {.485f, .456f, .406f},
          .std = {.229f, .224f, .225f},
          .resized_side = geometry.resized};
}

bool holds_imagenet(const fs::path& folder) { return holds_any(root_of(folder)); }

PictureSplit imagenet_split(const fs::path& folder, Split split) {
  const fs::path root = root_of(folder);
  std::error_code ignored;
  if (!fs::is_directory(root / folder_of(split), ignored)) refuse(root, split);
  return {root / folder_of(split), root / cache_of(split)};
}

}  // namespace apotnet
