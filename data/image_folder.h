#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/cut.h"
#include "data/dataset.h"
#include "data/picture_list.h"

namespace apotnet {

/// How the pictures of a folder are read.
struct PictureOptions {
  PictureGeometry geometry;
  /// A picture that cannot be decoded is replaced by the next good one of its class and counted (remark()); without it
  /// the error ends the reading.
  bool replace_damaged = false;
  bool refuse_other_files = false;  ///< files that are no pictures are an error, and not left out
  bool as_indexed = false;          ///< a picture index is taken with the resized side that it was made with
};

/// The pictures below FOLDER/CLASS (list_pictures(), read_image()), decoded whenever they are asked for; from any
/// thread.
class PictureFolder {
 public:
  /// Error(input_missing), or Error(damaged_data) for other files where options refuse them.
  PictureFolder(std::filesystem::path folder, const PictureOptions& options);

  int64_t size() const { return static_cast<int64_t>(list_.pictures.size()); }
  const std::vector<std::string>& class_names() const { return list_.class_names; }
  int label(int64_t index) const;
  /// Picture `index`, or the one that stands for it. Error(damaged_data) or Error(input_missing).
  Image picture(int64_t index, const WantedPart& wanted = {}) const;
  /// Which files were left out or replaced so far, for people; empty when none was.
  std::string remark() const;

 private:
  std::optional<Image> decoded(int64_t index, const WantedPart& wanted, std::optional<Error>& first) const;

  const std::filesystem::path folder_;
  const PictureOptions options_;
  PictureList list_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::string> damaged_;  // by picture, why
};

/// They as a data set of images cut to one size. `info` says everything but classes and image size.
/// Error(configuration) where geometry.size > geometry.resized; else those above.
std::shared_ptr<const Dataset> open_image_folder(const std::filesystem::path& folder, DatasetInfo info,
                                                 const PictureOptions& options);

}  // namespace apotnet
