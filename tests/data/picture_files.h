#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/philox.h"
#include "tests/data/jpeg_writer.h"
#include "tests/support/files.h"

namespace apotnet::test {

/// A JPEG of coarse random colours, another for each seed.
inline std::string random_jpeg(int height, int width, uint64_t seed) {
  Philox random(seed, RandomStream::test);
  std::vector<uint8_t> colours(3 * 64), pixels;
  for (uint8_t& colour : colours) colour = static_cast<uint8_t>(random.next_u32());
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (size_t c = 0; c < 3; ++c)
        pixels.push_back(colours[3 * static_cast<size_t>(y * 8 / height * 8 + x * 8 / width) + c]);
  return write_jpeg(pixels, height, width, JCS_RGB);
}

inline void write_picture(const std::filesystem::path& path, int height, int width, uint64_t seed) {
  std::filesystem::create_directories(path.parent_path());
  write_text(path.string(), random_jpeg(height, width, seed));
}

/// ROOT/train and ROOT/val with `classes` class folders of `per_class` pictures of various sizes each.
inline void write_picture_folders(const std::filesystem::path& root, int classes = 3, int per_class = 4) {
  uint64_t seed = 1;
  for (const char* split : {"train", "val"})
    for (int c = 0; c < classes; ++c)
      for (int i = 0; i < per_class; ++i, ++seed)
        write_picture(root / split / ("class" + std::to_string(c)) / ("picture" + std::to_string(i) + ".JPEG"),
                      40 + static_cast<int>(seed * 7 % 31), 40 + static_cast<int>(seed * 13 % 37), seed);
}

}  // namespace apotnet::test
