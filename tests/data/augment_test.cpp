#include "data/augment.h"

#include <set>
#include <tuple>

#include "tests/data/support.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

/// The definition in four steps: pad with black, crop, mirror, normalise.
std::vector<float> written_out(const std::vector<uint8_t>& image, int height, int width, int channels, int pad,
                               const Placement& placement, const DatasetInfo& info) {
  const auto at = [&](int y, int x, int c, int row) { return static_cast<size_t>((y * row + x) * channels + c); };
  const int padded_width = width + 2 * pad;
  std::vector<uint8_t> padded(static_cast<size_t>((height + 2 * pad) * padded_width * channels), 0);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) padded[at(y + pad, x + pad, c, padded_width)] = image[at(y, x, c, width)];
  std::vector<uint8_t> crop(image.size());
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c)
        crop[at(y, x, c, width)] = padded[at(y + placement.top, x + placement.left, c, padded_width)];
  std::vector<float> out(image.size());
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) {
        const size_t channel = static_cast<size_t>(c);
        const uint8_t value = crop[at(y, placement.mirror ? width - 1 - x : x, c, width)];
        out[at(y, x, c, width)] = (static_cast<float>(value) / 255.0f - info.mean[channel]) / info.std[channel];
      }
  return out;
}

}  // namespace

TEST_CASE("crop, mirror and normalise equal their written-out definition, bit for bit") {
  const auto dataset = random_dataset(1, 5, 4, 3);
  std::vector<uint8_t> image(60);
  dataset->read(0, image);
  const Normaliser normalise(dataset->info().mean, dataset->info().std);
  for (const int pad : {0, 1, 4})
    for (int top = 0; top <= 2 * pad; ++top)
      for (int left = 0; left <= 2 * pad; ++left)
        for (const bool mirror : {false, true}) {
          std::vector<float> out(60);
          const Placement placement{top, left, mirror};
          place_and_normalise(image, 5, 4, pad, placement, normalise, out);
          CHECK(out == written_out(image, 5, 4, 3, pad, placement, dataset->info()));
        }
}

TEST_CASE("padding is black before normalisation") {
  const Normaliser normalise(std::vector<float>{.5f}, std::vector<float>{.25f});
  std::vector<float> out(4);
  place_and_normalise(std::vector<uint8_t>(4, 255), 2, 2, 1, {0, 0, false}, normalise, out);
  CHECK(out == std::vector<float>{-2, -2, -2, 2});
}

TEST_CASE("a placement depends on seed, epoch and sample, and covers all crops and both sides") {
  const auto draw = [](const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample) {
    const Placement p = draw_placement(augmentation, seed, epoch, sample);
    return std::tuple(p.top, p.left, p.mirror);
  };
  const Augmentation recipe{4, true};
  std::set<std::tuple<int, int, bool>> seen;
  int mirrored = 0, differs_by_epoch = 0, differs_by_seed = 0;
  for (int64_t sample = 0; sample < 5000; ++sample) {
    const auto placement = draw(recipe, 1, 0, sample);
    CHECK(placement == draw(recipe, 1, 0, sample));
    seen.insert(placement);
    mirrored += std::get<bool>(placement);
    differs_by_epoch += placement != draw(recipe, 1, 1, sample);
    differs_by_seed += placement != draw(recipe, 2, 0, sample);
    CHECK(draw({4, false}, 1, 0, sample) == std::tuple(std::get<0>(placement), std::get<1>(placement), false));
    CHECK(draw({0, false}, 1, 0, sample) == std::tuple(0, 0, false));
  }
  CHECK(seen.size() == 9 * 9 * 2);
  CHECK(mirrored == doctest::Approx(2500).epsilon(0.05));
  CHECK(differs_by_epoch > 4900);
  CHECK(differs_by_seed > 4900);
}
