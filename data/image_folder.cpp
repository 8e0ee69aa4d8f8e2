#include "data/image_folder.h"

#include <algorithm>

namespace apotnet {
namespace {

namespace fs = std::filesystem;

class ImageFolder : public Dataset {
 public:
  ImageFolder(DatasetInfo info, std::unique_ptr<const PictureFolder> pictures, const PictureGeometry& geometry)
      : Dataset(std::move(info)), pictures_(std::move(pictures)), geometry_(geometry) {}

  int64_t size() const override { return pictures_->size(); }
  int label(int64_t index) const override { return pictures_->label(index); }
  std::string remark() const override { return pictures_->remark(); }
  void read(int64_t index, std::span<uint8_t> hwc) const override {
    read_cut(index, Cut::centre, Philox(0, RandomStream::cut), hwc);
  }
  void read_cut(int64_t index, Cut cut, Philox random, std::span<uint8_t> hwc) const override {
    const Image picture =
        pictures_->picture(index, [&](ImageSize whole) { return pixels_for_cut(whole, geometry_, cut, random); });
    const Image image = cut_image(picture, geometry_, cut, random);
    require(hwc.size() == image.pixels.size(), name(), ": room for ", hwc.size(), " bytes");
    std::ranges::copy(image.pixels, hwc.begin());
  }

 private:
  const std::unique_ptr<const PictureFolder> pictures_;
  const PictureGeometry geometry_;
};

}  // namespace

PictureFolder::PictureFolder(fs::path folder, const PictureOptions& options)
    : folder_(std::move(folder)), options_(options), list_(list_pictures(folder_)) {
  if (options.refuse_other_files && list_.other_files > 0)
    fail(ErrorCategory::damaged_data, (folder_ / list_.first_other).string(), ": is no picture, with ",
         list_.other_files - 1, " more like it; remove them or set data.other_files to skip");
}

int PictureFolder::label(int64_t index) const {
  require(index >= 0 && index < size(), folder_.string(), ": picture ", index, " of ", size());
  return list_.pictures[static_cast<size_t>(index)].label;
}

// Which other picture stands for a damaged one depends on the files alone, not on the order of reading.
Image PictureFolder::picture(int64_t index, const WantedPart& wanted) const {
  std::optional<Error> first;
  const int own = label(index);
  for (int64_t i = index; i < size() && label(i) == own; ++i)
    if (auto image = decoded(i, wanted, first)) return std::move(*image);
  for (int64_t i = index - 1; i >= 0 && label(i) == own; --i)
    if (auto image = decoded(i, wanted, first)) return std::move(*image);
  throw *first;
}

// Nothing for a damaged picture that is to be replaced; `first` keeps the first one's error.
std::optional<Image> PictureFolder::decoded(int64_t index, const WantedPart& wanted,
                                            std::optional<Error>& first) const {
  try {
    return read_image((folder_ / list_.pictures[static_cast<size_t>(index)].path).string(), wanted);
  } catch (const Error& error) {
    // One that cannot be opened is as little use.
    if (error.category() != ErrorCategory::damaged_data && error.category() != ErrorCategory::input_missing) throw;
    if (!options_.replace_damaged)
      fail(error.category(), error.what(),
           "; mend or remove the file, or have it replaced: data.damaged=replace in a configuration, --replace-damaged "
           "of data index");
    const std::scoped_lock lock(mutex_);
    damaged_.emplace(index, error.what());
    if (!first) first = error;
    return {};
  }
}

std::string PictureFolder::remark() const {
  const std::scoped_lock lock(mutex_);
  std::string all;
  if (list_.other_files > 0)
    all = text(folder_.string(), ": left out ", list_.other_files, " files that are no pictures, the first is ",
               list_.first_other);
  if (!damaged_.empty())
    all += text(all.empty() ? "" : "; ", damaged_.size(), damaged_.size() == 1 ? " picture is" : " pictures are",
                " damaged and replaced by others of the class, the first is ", damaged_.begin()->second);
  return all;
}

std::shared_ptr<const Dataset> open_image_folder(const fs::path& folder, DatasetInfo info,
                                                 const PictureOptions& options) {
  check_geometry(options.geometry);
  auto pictures = std::make_unique<const PictureFolder>(folder, options);
  info.class_names = pictures->class_names();
  info.height = info.width = options.geometry.size;
  info.resized_side = options.geometry.resized;
  return std::make_shared<ImageFolder>(std::move(info), std::move(pictures), options.geometry);
}

}  // namespace apotnet
