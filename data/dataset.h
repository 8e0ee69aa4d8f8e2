#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace apotnet {

enum class Split { train, test };

/// Mean and standard deviation per colour channel, of pixel values divided by 255.
struct Normalisation {
  std::array<float, 3> mean, std;
};

/// Labelled images of one size, as bytes [H, W, C].
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  virtual int64_t classes() const = 0;
  virtual int64_t height() const = 0;
  virtual int64_t width() const = 0;
  virtual int64_t channels() const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  virtual Normalisation normalisation() const = 0;
  virtual const std::string& name() const = 0;

  /// Valid as long as the data set; 0 <= index < size().
  virtual std::span<const uint8_t> image(int64_t index) const = 0;
  virtual int32_t label(int64_t index) const = 0;
  /// The image's number in the whole split: its random augmentation hangs on it, in every subset.
  virtual int64_t sample_id(int64_t index) const { return index; }
};

/// A view of some images, in the order of `indices`.
std::shared_ptr<Dataset> subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices);
std::shared_ptr<Dataset> first_samples(std::shared_ptr<const Dataset> whole, int64_t count);

struct HeldOut {
  std::shared_ptr<Dataset> train, validation;
};
/// Takes `count` images out for validation, chosen by the seed alone.
HeldOut hold_out(std::shared_ptr<const Dataset> whole, int64_t count, uint64_t seed);

/// Images in memory: what the readers below produce.
class MemoryDataset : public Dataset {
 public:
  struct Content {
    std::string name;
    int64_t height = 32, width = 32, channels = 3;
    std::vector<std::string> class_names;
    Normalisation normalisation{};
    std::vector<uint8_t> pixels;  ///< [size, H, W, C]
    std::vector<int32_t> labels;  ///< [size]
  };
  explicit MemoryDataset(Content content) : content_(std::move(content)) {}

  int64_t size() const override { return static_cast<int64_t>(content_.labels.size()); }
  int64_t classes() const override { return static_cast<int64_t>(content_.class_names.size()); }
  int64_t height() const override { return content_.height; }
  int64_t width() const override { return content_.width; }
  int64_t channels() const override { return content_.channels; }
  const std::vector<std::string>& class_names() const override { return content_.class_names; }
  Normalisation normalisation() const override { return content_.normalisation; }
  const std::string& name() const override { return content_.name; }
  std::span<const uint8_t> image(int64_t index) const override {
    const auto bytes = static_cast<size_t>(content_.height * content_.width * content_.channels);
    return std::span(content_.pixels).subspan(static_cast<size_t>(index) * bytes, bytes);
  }
  int32_t label(int64_t index) const override { return content_.labels[static_cast<size_t>(index)]; }

 private:
  Content content_;
};

}  // namespace apotnet
