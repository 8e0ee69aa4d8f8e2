#include "tools/report/png.h"

#include <doctest/doctest.h>

#include "data/image.h"
#include "tests/support/backends.h"
#include "tests/support/files.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("png: pictures are read back as they were, in color and by palette") {
  Philox random = random_numbers(151);
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {37, 64}}) {
    CAPTURE(height);
    std::vector<uint8_t> pixels(static_cast<size_t>(height * width * 3));
    for (uint8_t& value : pixels) value = static_cast<uint8_t>(random.below(256));
    const Image image = decode_image(to_bytes(png_of_rgb(height, width, pixels)), "a.png");
    CHECK(image.height == height);
    CHECK(image.width == width);
    CHECK(image.pixels == pixels);

    const std::vector<PngColor> palette{{10, 20, 30, 255}, {40, 50, 60, 255}, {255, 0, 7, 255}};
    std::vector<uint8_t> numbers(static_cast<size_t>(height * width)), expected;
    for (uint8_t& number : numbers) {
      number = static_cast<uint8_t>(random.below(3));
      for (const uint8_t part : {palette[number].red, palette[number].green, palette[number].blue})
        expected.push_back(part);
    }
    CHECK(decode_image(to_bytes(png_of_palette(height, width, numbers, palette)), "b.png").pixels == expected);
  }
}

TEST_CASE("png: base64 of every remainder") {
  const std::string head = "data:image/png;base64,";
  CHECK(data_uri_of_png("") == head);
  CHECK(data_uri_of_png("f") == head + "Zg==");
  CHECK(data_uri_of_png("fo") == head + "Zm8=");
  CHECK(data_uri_of_png("foo") == head + "Zm9v");
  CHECK(data_uri_of_png("\xff\xfe\x00") == head + "//4=");  // the literal ends at its zero
  CHECK(data_uri_of_png("foobar") == head + "Zm9vYmFy");
}
