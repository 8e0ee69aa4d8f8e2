#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/image.h"

namespace apotnet {

// One decoder per format, behind decode_image(), which has checked the first bytes. Errors as there. JPEG alone can
// leave out what is not wanted.
Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& path, const WantedPart& wanted);
Image decode_png(std::span<const uint8_t> bytes, const std::string& path);
Image decode_bmp(std::span<const uint8_t> bytes, const std::string& path);

/// A black image; Error(damaged_data) unless its sides keep the bounds of data/image.h.
Image make_image(const std::string& path, int64_t height, int64_t width);
void check_image_size(const std::string& path, int64_t height, int64_t width);

}  // namespace apotnet
