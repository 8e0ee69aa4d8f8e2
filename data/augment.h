#pragma once

#include <cstdint>
#include <span>

#include "data/dataset.h"

namespace apotnet {

/// The random changes of a training image.
struct Augmentation {
  bool pad_crop = false;  ///< pad by 4 black pixels on every side, then crop the original size at a random place
  bool flip = false;      ///< mirror left and right, half of the time
};

/// Bytes to normalised floats: value / 255, minus mean, divided by std, each rounded to float32 as PyTorch's ToTensor
/// and Normalize do. A table of 256 values per channel, made once per data set.
class Normaliser {
 public:
  explicit Normaliser(const Normalisation& normalisation);
  float operator()(size_t channel, uint8_t value) const { return table_[channel][value]; }

 private:
  std::array<std::array<float, 256>, 3> table_;
};

/// One image [height, width, 3] augmented and normalised in one pass into `out` of the same shape. Padding is black
/// before the normalisation. The random choices depend on (seed, epoch, sample_id) alone: not on threads, batches or
/// the order of images.
void augment_and_normalise(std::span<const uint8_t> image, int64_t height, int64_t width, const Normaliser& normaliser,
                           const Augmentation& augmentation, uint64_t seed, uint32_t epoch, uint32_t sample_id,
                           std::span<float> out);

}  // namespace apotnet
