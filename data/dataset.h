#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/philox.h"

namespace apotnet {

enum class Split { train, test };

std::string_view name_of(Split split);

/// Which part of a picture larger than the network's input is taken.
enum class Cut {
  centre,               ///< the middle of the resized picture: evaluation
  random_crop,          ///< anywhere in the resized picture: torchvision's RandomCrop
  random_resized_crop,  ///< 8 to 100 % of the picture's area at 3:4 to 4:3, resized: torchvision's RandomResizedCrop
};

/// What all images of a data set share.
struct DatasetInfo {
  std::string name;        ///< as in the registry: "cifar10"
  std::string split_name;  ///< "train", "test" or, for a held-out part of train, "validation"
  std::vector<std::string> class_names;
  int height = 0, width = 0, channels = 0;
  std::vector<float> mean, std;  ///< per channel, of value / 255
  int resized_side = 0;  ///< pictures are resized to this shorter side before their middle is taken; 0: as large
};

/// Where a data set is to be had, and how much it is.
struct DatasetArchive {
  std::string url;     ///< a .tar.gz
  std::string sha256;  ///< of it
  std::string folder;  ///< that it unpacks to
  std::string size;    ///< of the archive, for people
  int64_t train_images = 0, test_images = 0;
};

/// Labelled images of one size. Reading is const and safe from several threads at once.
class Dataset {
 public:
  explicit Dataset(DatasetInfo info);
  virtual ~Dataset() = default;

  const DatasetInfo& info() const { return info_; }
  const std::string& name() const { return info_.name; }
  const std::string& split_name() const { return info_.split_name; }
  const std::vector<std::string>& class_names() const { return info_.class_names; }
  int classes() const { return static_cast<int>(info_.class_names.size()); }
  int height() const { return info_.height; }
  int width() const { return info_.width; }
  int channels() const { return info_.channels; }
  /// Bytes of one image: height * width * channels.
  int64_t image_bytes() const { return int64_t{info_.height} * info_.width * info_.channels; }

  virtual int64_t size() const = 0;
  /// Copies image `index` in [0, size()) as [H, W, C] bytes; `hwc` has image_bytes() elements.
  virtual void read(int64_t index, std::span<uint8_t> hwc) const = 0;
  /// The same of another part of the picture, drawn from `random`. Error(configuration) where images have one size and
  /// `cut` is not the centre.
  virtual void read_cut(int64_t index, Cut cut, Philox random, std::span<uint8_t> hwc) const;
  /// The same bytes in place, valid as long as the data set; empty where images are not held in memory: read() them.
  virtual std::span<const uint8_t> view([[maybe_unused]] int64_t index) const { return {}; }
  /// In [0, classes()).
  virtual int label(int64_t index) const = 0;
  /// What its user should know after reading, such as pictures that had to be replaced: one line, mostly empty.
  virtual std::string remark() const { return ""; }

 private:
  DatasetInfo info_;
};

/// A data set that is held in memory: images [N, H, W, C] and labels [N].
class MemoryDataset : public Dataset {
 public:
  MemoryDataset(DatasetInfo info, std::vector<uint8_t> images, std::vector<uint8_t> labels);

  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  void read(int64_t index, std::span<uint8_t> hwc) const override;
  std::span<const uint8_t> view(int64_t index) const override;
  int label(int64_t index) const override;

 private:
  std::vector<uint8_t> images_, labels_;
};

/// Some images of another data set, in the order of `indices`.
class Subset : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices, std::string split_name);

  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  void read(int64_t index, std::span<uint8_t> hwc) const override;
  void read_cut(int64_t index, Cut cut, Philox random, std::span<uint8_t> hwc) const override;
  std::span<const uint8_t> view(int64_t index) const override;
  int label(int64_t index) const override;
  std::string remark() const override { return whole_->remark(); }
  /// Where the images stand in the whole data set.
  const std::vector<int64_t>& indices() const { return indices_; }

 private:
  std::shared_ptr<const Dataset> whole_;
  std::vector<int64_t> indices_;
};

/// The first `count` images, or all when there are fewer.
std::shared_ptr<const Dataset> take_first(const std::shared_ptr<const Dataset>& whole, int64_t count);

struct TrainValidation {
  std::shared_ptr<const Subset> train, validation;
};

/// Holds out `count` images chosen by the seed alone; both parts keep the order of the whole.
/// Error(configuration) unless 0 <= count < size.
TrainValidation split_validation(const std::shared_ptr<const Dataset>& whole, int64_t count, uint64_t seed);

}  // namespace apotnet
