#include "data/augment.h"

#include <array>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

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

TEST_CASE("the vector code gives the bits of the plain loop for any size, channels, padding and placement") {
  Philox random(7, RandomStream::test);
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random.below(static_cast<uint32_t>(high - low + 1)));
  };
  int with_vectors = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    const int channels =
        trial % 8 == 7 ? between(5, 9) : std::array{1, 3, 4, 3, 2, 6, 8}[static_cast<size_t>(trial % 8)];
    const bool cifar = trial % 5 == 0;
    const int height = cifar ? 32 : between(1, 40), width = cifar ? 32 : between(1, 40);
    const int pad = cifar ? 4 : trial % 3 == 0 ? between(0, 3) : between(0, 45);  // often larger than the image
    const Placement placement{between(0, 2 * pad), between(0, 2 * pad), random.below(2) == 1};
    std::vector<float> mean, std;
    for (int c = 0; c < channels; ++c) {
      mean.push_back(random.uniform());
      std.push_back(0.05f + random.uniform());
    }
    // Exactly as large as the image, so that a sanitizer sees a byte too many.
    std::vector<uint8_t> image(static_cast<size_t>(height * width * channels));
    for (uint8_t& value : image) value = static_cast<uint8_t>(random.next_u32());
    const Normaliser normalise(mean, std);
    with_vectors += normalise.vectors() != nullptr;
    std::vector<float> fast(image.size(), -99), plain(image.size(), 99);
    place_and_normalise(image, height, width, pad, placement, normalise, fast);
    place_and_normalise_plain(image, height, width, pad, placement, normalise, plain);
    const std::string problem = text(height, "x", width, "x", channels, " pad ", pad, " top ", placement.top, " left ",
                                     placement.left, placement.mirror ? " mirrored" : "");
    CAPTURE(problem);
    REQUIRE(std::memcmp(fast.data(), plain.data(), plain.size() * sizeof(float)) == 0);
  }
  CHECK(with_vectors > 1700);
}

TEST_CASE("products normalise the known data sets bit for bit, and a deviation that they cannot divide by is refused") {
  for (const auto& [mean, std] : {std::pair{std::vector{.491f, .482f, .447f}, std::vector{.247f, .243f, .262f}},
                                  {{.507f, .487f, .441f}, {.267f, .256f, .276f}},
                                  {{.485f, .456f, .406f}, {.229f, .224f, .225f}},
                                  {{.5f, .5f, .5f}, {.24f, .24f, .24f}},
                                  {{.1307f}, {.3081f}}})
    CHECK(Normaliser(mean, std).vectors() != nullptr);
  CHECK(Normaliser(std::vector{.5f}, std::vector{1e-40f}).vectors() == nullptr);  // 1 / std overflows
  CHECK(Normaliser(std::vector<float>(5, .5f), std::vector<float>(5, .25f)).vectors() == nullptr);
}
