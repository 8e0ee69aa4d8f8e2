#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace apotnet {

struct PngColor {
  uint8_t red = 0, green = 0, blue = 0, opacity = 255;
};

/// A PNG file of `pixels` [height, width, 3].
std::string png_of_rgb(int64_t height, int64_t width, std::span<const uint8_t> pixels);

/// A PNG file of `pixels` [height, width], each the number of a color of `palette` (1 to 256).
std::string png_of_palette(int64_t height, int64_t width, std::span<const uint8_t> pixels,
                           std::span<const PngColor> palette);

/// "data:image/png;base64,...", for the src of an image.
std::string data_uri_of_png(const std::string& png);

}  // namespace apotnet
