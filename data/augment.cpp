#include "data/augment.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/philox.h"

namespace apotnet {

Placement draw_placement(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample) {
  Philox random(seed, RandomStream::augment, static_cast<uint32_t>(epoch), static_cast<uint32_t>(sample));
  const uint32_t positions = static_cast<uint32_t>(2 * augmentation.pad + 1);
  Placement placement;
  placement.top = static_cast<int>(random.below(positions));
  placement.left = static_cast<int>(random.below(positions));
  const bool heads = random.below(2) == 1;
  placement.mirror = augmentation.flip && heads;
  return placement;
}

Normaliser::Normaliser(std::span<const float> mean, std::span<const float> std) {
  require(mean.size() == std.size(), "normaliser: ", mean.size(), " means and ", std.size(), " deviations");
  tables_.reserve(mean.size() * 256);
  for (size_t channel = 0; channel < mean.size(); ++channel)
    for (int value = 0; value < 256; ++value)
      tables_.push_back((static_cast<float>(value) / 255.0f - mean[channel]) / std[channel]);
}

void place_and_normalise(std::span<const uint8_t> image, int height, int width, int pad, const Placement& placement,
                         const Normaliser& normalise, std::span<float> out) {
  const int channels = normalise.channels();
  const size_t elements = static_cast<size_t>(height) * static_cast<size_t>(width) * static_cast<size_t>(channels);
  require(image.size() == elements && out.size() == elements, "place_and_normalise: ", image.size(), " bytes to ",
          out.size(), " floats for ", height, "x", width, "x", channels);
  float* to = out.data();
  for (int y = 0; y < height; ++y) {
    const int from_y = y + placement.top - pad;
    const bool row_inside = from_y >= 0 && from_y < height;
    for (int x = 0; x < width; ++x) {
      const int from_x = (placement.mirror ? width - 1 - x : x) + placement.left - pad;
      if (row_inside && from_x >= 0 && from_x < width) {
        const uint8_t* from = image.data() + (static_cast<ptrdiff_t>(from_y) * width + from_x) * channels;
        for (int c = 0; c < channels; ++c) *to++ = normalise(from[c], c);
      } else {
        for (int c = 0; c < channels; ++c) *to++ = normalise(0, c);
      }
    }
  }
}

}  // namespace apotnet
