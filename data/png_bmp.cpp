// PNG and BMP by stb_image, which trusts its input more than it should: the checks before it find what it would pass
// over in silence, and its allocations are bounded by what the header says.
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "core/base/error.h"
#include "core/io/printable.h"
#include "data/image_formats.h"

namespace {

thread_local size_t most_allocated = 0;  // by one request, for the image that this thread decodes

void* allocate(size_t bytes) { return bytes <= most_allocated ? std::malloc(bytes) : nullptr; }
void* reallocate(void* old, size_t bytes) { return bytes <= most_allocated ? std::realloc(old, bytes) : nullptr; }

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS (1 << 14)
#define STBI_MALLOC(bytes) allocate(bytes)
#define STBI_REALLOC(old, bytes) reallocate(old, bytes)
#define STBI_FREE(memory) std::free(memory)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of what stb reads only from callbacks, which we do not use
#endif
#include <stb_image.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

namespace apotnet {
namespace {

static_assert(STBI_MAX_DIMENSIONS == kMostImageSide);

constexpr size_t kSmallAllocations = 64 << 10;

Image decode(std::span<const uint8_t> bytes, const std::string& path, const char* format, int64_t height, int64_t width,
             size_t allocation) {
  most_allocated = allocation;
  int found_width = 0, found_height = 0, channels = 0;
  const std::unique_ptr<uint8_t, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &found_width, &found_height, &channels, 3),
      std::free);
  if (!pixels) fail(ErrorCategory::damaged_data, path, ": damaged ", format, ": ", stbi_failure_reason());
  require(found_width == width && found_height == height, path, ": decoded as ", found_width, " x ", found_height);
  Image image = make_image(path, height, width);
  std::copy_n(pixels.get(), image.pixels.size(), image.pixels.begin());
  return image;
}

uint32_t big_endian(const uint8_t* at) {
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

uint32_t little_endian(const uint8_t* at, int count) {
  uint32_t value = 0;
  for (int i = count; i-- > 0;) value = value << 8 | at[i];
  return value;
}

// Every chunk must be whole and have its checksum, from the header's to the end's.
void check_chunks(std::span<const uint8_t> bytes, const std::string& path) {
  constexpr size_t kFrame = 12;  // length, name, checksum
  for (size_t at = 8;;) {
    if (bytes.size() - at < kFrame) fail(ErrorCategory::damaged_data, path, ": damaged PNG: cut off");
    const size_t length = big_endian(&bytes[at]);
    const std::string_view name(reinterpret_cast<const char*>(&bytes[at + 4]), 4);
    if (length > bytes.size() - at - kFrame)
      fail(ErrorCategory::damaged_data, path, ": damaged PNG: cut off in the chunk ", printable(name));
    if (::crc32(0, &bytes[at + 4], static_cast<uInt>(length + 4)) != big_endian(&bytes[at + 8 + length]))
      fail(ErrorCategory::damaged_data, path, ": damaged PNG: the chunk ", printable(name), " has a wrong checksum");
    if (at == 8 && (name != "IHDR" || length != 13))
      fail(ErrorCategory::damaged_data, path, ": damaged PNG: begins with the chunk ", printable(name));
    if (name == "IEND") return;
    at += length + kFrame;
  }
}

}  // namespace

Image decode_png(std::span<const uint8_t> bytes, const std::string& path) {
  check_chunks(bytes, path);
  const int64_t width = big_endian(&bytes[16]), height = big_endian(&bytes[20]);
  check_image_size(path, height, width);
  // Unpacked rows of at most 4 channels of this depth, each behind a filter byte; stb doubles what is too small.
  const auto pixels = static_cast<size_t>(height * width);
  const size_t unpacked = pixels * (bytes[24] == 16 ? 8 : 4) + 2 * static_cast<size_t>(height);
  return decode(bytes, path, "PNG", height, width, 2 * (unpacked + bytes.size()) + kSmallAllocations);
}

Image decode_bmp(std::span<const uint8_t> bytes, const std::string& path) {
  if (bytes.size() < 34) fail(ErrorCategory::damaged_data, path, ": damaged BMP: cut off in the header");
  const size_t pixels_at = little_endian(&bytes[10], 4);
  const bool old = little_endian(&bytes[14], 4) == 12;  // OS/2's header
  // A negative height: the rows go from the top down.
  const int64_t width = old ? little_endian(&bytes[18], 2) : static_cast<int32_t>(little_endian(&bytes[18], 4));
  const int64_t stored = old ? little_endian(&bytes[20], 2) : static_cast<int32_t>(little_endian(&bytes[22], 4));
  const int64_t height = std::abs(stored);
  check_image_size(path, height, width);
  const uint32_t bits = little_endian(&bytes[old ? 24 : 28], 2), compression = old ? 0 : little_endian(&bytes[30], 4);
  if (compression != 0 && compression != 3)
    fail(ErrorCategory::damaged_data, path, ": BMP with compression ", compression, "; only plain ones are read");
  const size_t row = (static_cast<size_t>(width) * bits + 31) / 32 * 4, needed = row * static_cast<size_t>(height);
  if (pixels_at > bytes.size() || bytes.size() - pixels_at < needed)
    fail(ErrorCategory::damaged_data, path, ": damaged BMP: cut off, has ", bytes.size(), " of ", pixels_at + needed,
         " bytes");
  return decode(bytes, path, "BMP", height, width, static_cast<size_t>(height * width) * 4 + kSmallAllocations);
}

}  // namespace apotnet
