#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace apotnet {

struct ImageSize {
  int height = 0, width = 0;
};

/// A part of an image: rows top to top + height - 1, columns left to left + width - 1.
struct Box {
  int top = 0, left = 0, height = 0, width = 0;
};

/// A decoded image: RGB, [height, width, 3].
struct Image {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;
};

/// Bounds that a file's header must keep; checked before anything of that size is allocated.
constexpr int kMostImageSide = 16'384;
constexpr int64_t kMostImagePixels = 64'000'000;
constexpr size_t kMostImageBytes = size_t{256} << 20;  ///< of the file

/// Reads a JPEG, PNG or BMP file; which one is told by its content, whatever its name. JPEG pixels are those of
/// Pillow's convert("RGB") bit for bit: accurate integer DCT, smooth upsampling, grey repeated, CMYK by its formula.
/// Transparency is dropped, 16-bit channels keep their upper 8 bits, the camera's note on how the image is to be turned
/// is ignored.
///
/// Error(input_missing) when there is no file; Error(damaged_data) in one line with the file and the reason otherwise:
/// another format, a size out of bounds, more than 100 scans of a progressive JPEG, damaged or cut off.
Image read_image(const std::string& path);

/// What is wanted of an image of that size, within it.
using WantedPart = std::function<Box(ImageSize whole)>;

/// The same image where only the pixels of `wanted` are sure to be there; the others may be black. For a JPEG this
/// saves much of the decoding; damage behind the last row of them goes unnoticed then, unless the file is cut off.
Image read_image(const std::string& path, const WantedPart& wanted);

/// The same from the bytes of a file; `path` is for the messages. No `wanted`: all of it.
Image decode_image(std::span<const std::byte> bytes, const std::string& path, const WantedPart& wanted = {});

/// Brightness [height, width] of its pixels, ITU-R 601 as Pillow's convert("L"): (19595 R + 38470 G + 7471 B + 2^15) /
/// 2^16.
std::vector<uint8_t> grey_values(const Image& image);

/// The JPEG library that is linked, as "2.1.5".
std::string jpeg_library_version();

}  // namespace apotnet
