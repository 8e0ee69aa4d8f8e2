#include "data/picture_list.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "core/base/error.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kExtensions{".jpg", ".jpeg", ".png", ".bmp"};
constexpr int kMostDepth = 16;  // links may lead back to where they are

struct Folder {
  std::vector<std::string> folders, files;  // names, sorted
};

Folder read_folder(const fs::path& path) {
  Folder found;
  std::error_code error;
  fs::directory_iterator entries(path, error);
  for (const fs::directory_iterator end; !error && entries != end; entries.increment(error)) {
    std::error_code ignored;  // of a link to nothing: the file is reported when it is opened
    (entries->is_directory(ignored) ? found.folders : found.files).push_back(entries->path().filename().string());
  }
  if (error) fail(ErrorCategory::input_missing, path.string(), ": cannot be read: ", error.message());
  std::ranges::sort(found.folders);
  std::ranges::sort(found.files);
  return found;
}

// The pictures of `folder` (relative to `root`), then those of the folders in it.
void add_pictures(const fs::path& root, const std::string& folder, int label, int depth, PictureList& list) {
  if (depth > kMostDepth)
    fail(ErrorCategory::input_missing, (root / folder).string(), ": more than ", kMostDepth,
         " folders in one another; does a link lead back?");
  const Folder found = read_folder(root / folder);
  for (const std::string& name : found.files) {
    std::string path = folder + "/" + name;
    if (is_picture_name(name))
      list.pictures.push_back({std::move(path), label});
    else if (list.other_files++ == 0)
      list.first_other = std::move(path);
  }
  for (const std::string& name : found.folders) add_pictures(root, folder + "/" + name, label, depth + 1, list);
}

}  // namespace

bool is_picture_name(const std::string& name) {
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::any_of(kExtensions, [&](std::string_view extension) { return lower.ends_with(extension); });
}

PictureList list_pictures(const fs::path& folder) {
  PictureList list;
  list.class_names = read_folder(folder).folders;
  if (list.class_names.empty())
    fail(ErrorCategory::input_missing, folder.string(), ": no class folders in it; expected ", folder.string(),
         "/CLASS/picture.jpg");
  for (size_t label = 0; label < list.class_names.size(); ++label) {
    const size_t before = list.pictures.size();
    add_pictures(folder, list.class_names[label], static_cast<int>(label), 0, list);
    if (list.pictures.size() == before)
      fail(ErrorCategory::input_missing, (folder / list.class_names[label]).string(),
           ": no picture in this class folder (.jpg, .jpeg, .png, .bmp); add some or remove the folder");
  }
  return list;
}

}  // namespace apotnet
