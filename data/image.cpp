#include "data/image.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/printable.h"
#include "data/image_formats.h"

namespace apotnet {
namespace {

struct Format {
  std::string_view magic;  // how every file of the format begins
  Image (*decode)(std::span<const uint8_t> bytes, const std::string& path, const WantedPart& wanted);
};

constexpr std::array kFormats{
    Format{"\xFF\xD8\xFF", decode_jpeg},
    Format{"\x89PNG\r\n\x1A\n", [](std::span<const uint8_t> bytes, const std::string& path,
                                   const WantedPart&) { return decode_png(bytes, path); }},
    Format{"BM", [](std::span<const uint8_t> bytes, const std::string& path,
                    const WantedPart&) { return decode_bmp(bytes, path); }},
};

}  // namespace

void check_image_size(const std::string& path, int64_t height, int64_t width) {
  if (height < 1 || width < 1 || height > kMostImageSide || width > kMostImageSide || height * width > kMostImagePixels)
    fail(ErrorCategory::damaged_data, path, ": says it has ", width, " x ", height, " pixels; 1 to ", kMostImageSide,
         " on a side are taken, and ", kMostImagePixels, " together");
}

Image make_image(const std::string& path, int64_t height, int64_t width) {
  check_image_size(path, height, width);
  return {static_cast<int>(height), static_cast<int>(width),
          std::vector<uint8_t>(static_cast<size_t>(height * width) * 3)};
}

std::vector<uint8_t> grey_values(const Image& image) {
  std::vector<uint8_t> grey;
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    const uint32_t sum = 19595u * image.pixels[i] + 38470u * image.pixels[i + 1] + 7471u * image.pixels[i + 2];
    grey.push_back(static_cast<uint8_t>((sum + (1u << 15)) >> 16));
  }
  return grey;
}

Image decode_image(std::span<const std::byte> bytes, const std::string& path, const WantedPart& wanted) {
  const std::span content(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  const std::string_view begin(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 8));
  for (const Format& format : kFormats)
    if (begin.starts_with(format.magic)) return format.decode(content, path, wanted);
  if (begin.empty()) fail(ErrorCategory::damaged_data, path, ": is empty");
  fail(ErrorCategory::damaged_data, path, ": is not a JPEG, PNG or BMP image; it begins with ", printable(begin));
}

Image read_image(const std::string& path) { return read_image(path, {}); }

Image read_image(const std::string& path, const WantedPart& wanted) {
  return decode_image(read_file(path, kMostImageBytes), path, wanted);
}

}  // namespace apotnet
