#include "tools/report/png.h"

#include <zlib.h>

#include "core/base/error.h"

namespace apotnet {
namespace {

std::string big_endian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<uint32_t>(data.size())) + body + big_endian(static_cast<uint32_t>(crc));
}

std::string deflated(const std::string& data) {
  uLongf size = compressBound(data.size());
  std::string result(size, '\0');
  const int status = compress2(reinterpret_cast<Bytef*>(result.data()), &size,
                               reinterpret_cast<const Bytef*>(data.data()), data.size(), Z_BEST_COMPRESSION);
  require(status == Z_OK, "zlib's compress2 returned ", status);
  result.resize(size);
  return result;
}

// `between` are the chunks between header and data.
std::string png(int64_t height, int64_t width, int channels, char color_type, std::span<const uint8_t> pixels,
                const std::string& between) {
  const size_t row_bytes = static_cast<size_t>(width * channels);
  require(width > 0 && height > 0 && pixels.size() == row_bytes * static_cast<size_t>(height), "a picture of ", height,
          " x ", width, " with ", pixels.size(), " bytes");
  std::string rows;
  for (size_t y = 0; y < static_cast<size_t>(height); ++y) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(pixels.data()) + y * row_bytes, row_bytes);
  }
  const std::string header = big_endian(static_cast<uint32_t>(width)) + big_endian(static_cast<uint32_t>(height)) +
                             std::string{8, color_type, 0, 0, 0};
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + between + chunk("IDAT", deflated(rows)) + chunk("IEND", "");
}

}  // namespace

std::string png_of_rgb(int64_t height, int64_t width, std::span<const uint8_t> pixels) {
  return png(height, width, 3, 2, pixels, "");
}

std::string png_of_palette(int64_t height, int64_t width, std::span<const uint8_t> pixels,
                           std::span<const PngColor> palette) {
  require(!palette.empty() && palette.size() <= 256, "a palette of ", palette.size(), " colors");
  std::string colors, opacities;
  for (const PngColor& color : palette) {
    for (const uint8_t part : {color.red, color.green, color.blue}) colors += static_cast<char>(part);
    opacities += static_cast<char>(color.opacity);
  }
  return png(height, width, 1, 3, pixels, chunk("PLTE", colors) + chunk("tRNS", opacities));
}

std::string data_uri_of_png(const std::string& png) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result = "data:image/png;base64,";
  for (size_t i = 0; i < png.size(); i += 3) {
    uint32_t three = 0;
    for (size_t j = 0; j < 3; ++j) three = three << 8 | (i + j < png.size() ? static_cast<uint8_t>(png[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) result += i + j > png.size() ? '=' : kDigits[three >> (18 - 6 * j) & 63];
  }
  return result;
}

}  // namespace apotnet
