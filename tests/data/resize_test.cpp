// Bit equality with Pillow stands in image_test.cpp; here is what needs no Pillow.
#include "data/resize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/base/philox.h"
#include "tests/data/support.h"

using namespace apotnet;

namespace {

Image random_image(Philox& random, int height, int width) {
  Image image{height, width, std::vector<uint8_t>(static_cast<size_t>(height * width) * 3)};
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random.next_u32());
  return image;
}

int at(const Image& image, int y, int x, int channel) {
  return image.pixels[static_cast<size_t>((y * image.width + x) * 3 + channel)];
}

Image crop(const Image& image, const Box& box) {
  Image result{box.height, box.width, {}};
  for (int y = box.top; y < box.top + box.height; ++y)
    for (int x = box.left; x < box.left + box.width; ++x)
      for (int c = 0; c < 3; ++c) result.pixels.push_back(static_cast<uint8_t>(at(image, y, x, c)));
  return result;
}

/// The formula of the header in double precision, both directions at once.
double exact(const Image& image, ImageSize size, int y, int x, int channel) {
  const auto weight = [](int i, int out, int in_side, int out_side) {
    const double scale = static_cast<double>(in_side) / out_side;
    return std::max(0.0, 1 - std::abs(i + 0.5 - (out + 0.5) * scale) / std::max(1.0, scale));
  };
  double sum = 0, total = 0;
  for (int i = 0; i < image.height; ++i)
    for (int j = 0; j < image.width; ++j) {
      const double w = weight(i, y, image.height, size.height) * weight(j, x, image.width, size.width);
      sum += w * at(image, i, j, channel);
      total += w;
    }
  return sum / total;
}

}  // namespace

TEST_CASE("resize: within the rounding of two passes of its formula, growing and shrinking") {
  Philox random(11, RandomStream::test);
  for (int round = 0; round < 25; ++round) {
    const auto side = [&] { return 1 + static_cast<int>(random.below(24)); };
    const Image image = random_image(random, side(), side());
    const ImageSize size{side(), side()};
    const Image resized = resize_bilinear(image, size);
    REQUIRE(resized.height == size.height);
    REQUIRE(resized.width == size.width);
    for (int y = 0; y < size.height; ++y)
      for (int x = 0; x < size.width; ++x)
        for (int c = 0; c < 3; ++c) CHECK(std::abs(at(resized, y, x, c) - exact(image, size, y, x, c)) <= 1.01);
  }
}

TEST_CASE("resize: a box is cut out of the whole, and the same size is a copy") {
  Philox random(12, RandomStream::test);
  const Image image = random_image(random, 37, 53);
  CHECK(resize_bilinear(image, {37, 53}).pixels == image.pixels);
  const Image whole = resize_bilinear(image, {29, 71});
  for (const Box& box : {Box{0, 0, 1, 1}, Box{3, 11, 20, 40}, Box{28, 70, 1, 1}, Box{0, 5, 29, 3}})
    CHECK(resize_bilinear(image, {29, 71}, box).pixels == crop(whole, box).pixels);
  CHECK_THROWS_AS(resize_bilinear(image, {29, 71}, {0, 60, 5, 12}), Error);
}

TEST_CASE("resize: one colour stays itself, black to white, however far it shrinks") {
  for (const int value : {0, 1, 127, 254, 255})
    for (const ImageSize size : {ImageSize{1, 1}, ImageSize{3, 2}, ImageSize{50, 700}}) {
      const Image image{40, 4000, std::vector<uint8_t>(40 * 4000 * 3, static_cast<uint8_t>(value))};
      const Image resized = resize_bilinear(image, size);
      CHECK(std::ranges::all_of(resized.pixels, [&](uint8_t v) { return v == value; }));
    }
}

TEST_CASE("resize: sizes and middles are torchvision's") {
  const auto scaled = [](int height, int width, int side) {
    const ImageSize size = size_with_shorter_side({height, width}, side);
    return std::pair(size.height, size.width);
  };
  CHECK(scaled(375, 500, 256) == std::pair(256, 341));  // 341.33
  CHECK(scaled(500, 375, 256) == std::pair(341, 256));
  CHECK(scaled(333, 500, 256) == std::pair(256, 384));  // 384.38
  CHECK(scaled(7, 7, 32) == std::pair(32, 32));
  const auto offset = [](int whole, int part) { return centre_box({whole, 9}, {part, 9}).top; };
  CHECK(offset(341, 224) == 58);  // 58.5 to the even number
  CHECK(offset(343, 224) == 60);  // 59.5
  CHECK(offset(256, 224) == 16);
  CHECK(offset(33, 32) == 0);
  CHECK(offset(35, 32) == 2);
}

TEST_CASE("resize: an image far longer than wide costs only what the crop shows") {
  Image strip{16384, 1, std::vector<uint8_t>(16384 * 3)};
  for (size_t i = 0; i < strip.pixels.size(); ++i) strip.pixels[i] = static_cast<uint8_t>(i / 3 % 251);
  const Image middle = resize_and_crop(strip, 256, {224, 224});  // of 4,194,304 x 256
  CHECK(middle.pixels.size() == 224 * 224 * 3);
  CHECK(at(middle, 111, 0, 0) == at(middle, 111, 223, 2));
}
