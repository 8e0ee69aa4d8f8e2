#include "data/augment.h"

#include <algorithm>

#include "core/base/philox.h"

namespace apotnet {
namespace {

constexpr int64_t kPadding = 4;
constexpr int64_t kChannels = 3;

}  // namespace

Normaliser::Normaliser(const Normalisation& normalisation) {
  for (size_t channel = 0; channel < kChannels; ++channel)
    for (size_t value = 0; value < 256; ++value)
      table_[channel][value] =
          (static_cast<float>(value) / 255.0f - normalisation.mean[channel]) / normalisation.std[channel];
}

void augment_and_normalise(std::span<const uint8_t> image, int64_t height, int64_t width, const Normaliser& normaliser,
                           const Augmentation& augmentation, uint64_t seed, uint32_t epoch, uint32_t sample_id,
                           std::span<float> out) {
  Philox random(seed, RandomStream::augment, epoch, sample_id);
  // Both offsets and the coin are always drawn, so that switching one of them off does not move the others.
  const int64_t down = static_cast<int64_t>(random.below(2 * kPadding + 1)) - kPadding;
  const int64_t right = static_cast<int64_t>(random.below(2 * kPadding + 1)) - kPadding;
  const bool mirrored = random.below(2) == 1 && augmentation.flip;
  const int64_t top = augmentation.pad_crop ? down : 0, left = augmentation.pad_crop ? right : 0;
  float* to = out.data();
  for (int64_t row = 0; row < height; ++row) {
    const int64_t y = row + top;
    for (int64_t column = 0; column < width; ++column, to += kChannels) {
      const int64_t x = (mirrored ? width - 1 - column : column) + left;
      const bool inside = y >= 0 && y < height && x >= 0 && x < width;
      const uint8_t* pixel = inside ? image.data() + (y * width + x) * kChannels : nullptr;
      for (size_t channel = 0; channel < kChannels; ++channel)
        to[channel] = normaliser(channel, pixel ? pixel[channel] : uint8_t{0});
    }
  }
}

}  // namespace apotnet
