#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/augment_vectors.h"
#include "data/dataset.h"

namespace apotnet {

/// What training does to an image before it is normalised. The default does nothing: evaluation.
struct Augmentation {
  int pad = 0;        ///< pad_crop: black pixels added on every side, then a crop of the former size; the recipe has 4
  bool flip = false;  ///< mirror left and right with probability 1/2
  Cut cut = Cut::centre;  ///< of pictures larger than the images
};

/// One draw of an augmentation: out(y, x) = padded(y + top, x' + left), x' = width - 1 - x when mirrored.
struct Placement {
  int top = 0, left = 0;  ///< corner of the crop in the padded image, in [0, 2 pad]
  bool mirror = false;
};

/// Depends on its arguments only: not on batches, workers or the other images. Each of the three numbers is always
/// drawn, so turning the flip off leaves the crops as they were.
Placement draw_placement(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample);

/// u8 images to network inputs: (value / 255 - mean) / std in float32 and in this order, which is that of PyTorch's
/// ToTensor and Normalize. A table per channel holds the 256 results.
class Normaliser {
 public:
  Normaliser(std::span<const float> mean, std::span<const float> std);

  int channels() const { return static_cast<int>(tables_.size() / 256); }
  float operator()(uint8_t value, int channel) const { return tables_[static_cast<size_t>(channel) * 256 + value]; }
  /// The same 256 results per channel without a table, or null where vectors cannot give them.
  const NormaliserVectors* vectors() const { return has_vectors_ ? &vectors_ : nullptr; }

 private:
  std::vector<float> tables_;  // [channel][value]
  NormaliserVectors vectors_{};
  bool has_vectors_ = false;
};

/// Pads, crops, mirrors and normalises in one pass. `image` and `out` are [height, width, channels]; padding is black
/// before normalisation. The same bits on every processor.
void place_and_normalise(std::span<const uint8_t> image, int height, int width, int pad, const Placement& placement,
                         const Normaliser& normalise, std::span<float> out);

/// The plain loop that defines it.
void place_and_normalise_plain(std::span<const uint8_t> image, int height, int width, int pad,
                               const Placement& placement, const Normaliser& normalise, std::span<float> out);

}  // namespace apotnet
