#include "data/augment.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/error.h"
#include "core/base/isa.h"
#include "core/base/philox.h"

namespace apotnet {
namespace {

constexpr int kBlock = NormaliserVectors::kElements;

// Channels whose blocks hold whole pixels, and whose mirrored outputs find their bytes within one load.
bool fit_a_block(int channels) { return channels >= 1 && channels <= 8 && kBlock % channels == 0; }

NormaliserVectors make_vectors(std::span<const float> mean, std::span<const float> std) {
  const int channels = static_cast<int>(mean.size());
  NormaliserVectors v;
  v.byte_factor = static_cast<float>(1.0 / 255);
  v.byte_factor_rest = static_cast<float>(1.0 / 255 - double{v.byte_factor});
  for (int e = 0; e < kBlock; ++e) {
    const size_t channel = static_cast<size_t>(e % channels);
    const double factor = 1.0 / double{std[channel]};
    v.mean[e] = mean[channel];
    v.factor[e] = static_cast<float>(factor);
    v.factor_rest[e] = static_cast<float>(factor - double{v.factor[e]});
    v.black[e] = (0.0f - mean[channel]) / std[channel];
    const int reversed = kBlock - channels - e + 2 * (e % channels);  // the same channel of the pixel opposite
    v.mirrored[e / 8][e % 8] = static_cast<uint8_t>(reversed - (8 - 4 * (e / 8)));
  }
  return v;
}

// What the vector code computes for one element.
float by_products(const NormaliserVectors& v, uint8_t value, int element) {
  const float x = static_cast<float>(value);
  const float difference = std::fma(x, v.byte_factor, x * v.byte_factor_rest) - v.mean[element];
  return std::fma(difference, v.factor[element], difference * v.factor_rest[element]);
}

#if defined(__x86_64__)
VisiblePart visible_part(std::span<const uint8_t> image, int height, int width, int channels, int pad,
                         const Placement& placement) {
  const int down = placement.top - pad, across = placement.left - pad;  // output (y, x) shows (y + down, x + across)
  const auto within = [](int at, int size) { return std::clamp(at, 0, size); };
  VisiblePart part{.height = height,
                   .width = width,
                   .channels = channels,
                   .top = within(-down, height),
                   .bottom = within(height - down, height),
                   .left = within(-across, width),
                   .right = within(width - across, width),
                   .first = nullptr,
                   .source_bytes = ptrdiff_t{width} * channels,
                   .mirror = placement.mirror};
  if (part.top < part.bottom && part.left < part.right)
    part.first = image.data() + (ptrdiff_t{part.top + down} * width + part.left + across) * channels;
  if (placement.mirror) {
    const int left = part.left;
    part.left = width - part.right;
    part.right = width - left;
  }
  return part;
}
#endif

}  // namespace

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
  if (!fit_a_block(channels())) return;
  vectors_ = make_vectors(mean, std);
  has_vectors_ = true;
  for (int channel = 0; channel < channels(); ++channel)
    for (int value = 0; value < 256; ++value) {
      const auto byte = static_cast<uint8_t>(value);
      has_vectors_ = has_vectors_ && std::bit_cast<uint32_t>(by_products(vectors_, byte, channel)) ==
                                         std::bit_cast<uint32_t>((*this)(byte, channel));
    }
}

void place_and_normalise(std::span<const uint8_t> image, int height, int width, int pad, const Placement& placement,
                         const Normaliser& normalise, std::span<float> out) {
#if defined(__x86_64__)
  const int channels = normalise.channels();
  const size_t elements = static_cast<size_t>(height) * static_cast<size_t>(width) * static_cast<size_t>(channels);
  static const bool avx2 = selected_isa() >= Isa::avx2;
  if (avx2 && normalise.vectors() && image.size() == elements && out.size() == elements) {
    place_and_normalise_avx2(visible_part(image, height, width, channels, pad, placement), *normalise.vectors(),
                             out.data());
    return;
  }
#endif
  place_and_normalise_plain(image, height, width, pad, placement, normalise, out);
}

void place_and_normalise_plain(std::span<const uint8_t> image, int height, int width, int pad,
                               const Placement& placement, const Normaliser& normalise, std::span<float> out) {
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
