#include "data/cut.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace apotnet {
namespace {

constexpr double kLeastArea = 0.08, kNarrowest = 3.0 / 4, kWidest = 4.0 / 3;
constexpr int kTries = 10;

double between(double low, double high, Philox& random) { return low + (high - low) * double{random.uniform()}; }

int anywhere(int room, Philox& random) { return static_cast<int>(random.below(static_cast<uint32_t>(room) + 1)); }

Box whole_height_or_width(ImageSize whole) {
  const double ratio = double(whole.width) / whole.height;
  ImageSize part = whole;
  if (ratio < kNarrowest) part.height = static_cast<int>(std::lround(whole.width / kNarrowest));
  if (ratio > kWidest) part.width = static_cast<int>(std::lround(whole.height * kWidest));
  return {(whole.height - part.height) / 2, (whole.width - part.width) / 2, part.height, part.width};
}

Image part_of(const Image& picture, const Box& box) {
  Image part{box.height, box.width, std::vector<uint8_t>(static_cast<size_t>(box.height) * 3 * size_t(box.width))};
  const size_t bytes = static_cast<size_t>(box.width) * 3;
  for (size_t y = 0; y < static_cast<size_t>(box.height); ++y) {
    const size_t from = (static_cast<size_t>(box.top) + y) * static_cast<size_t>(picture.width) + size_t(box.left);
    std::copy_n(picture.pixels.begin() + static_cast<ptrdiff_t>(3 * from), bytes,
                part.pixels.begin() + static_cast<ptrdiff_t>(y * bytes));
  }
  return part;
}

}  // namespace

void check_geometry(const PictureGeometry& geometry) {
  if (geometry.size < 1 || geometry.size > geometry.resized)
    fail(ErrorCategory::configuration, "data.image_size: images of ", geometry.size,
         " pixels cannot be cut out of pictures resized to ", geometry.resized, " (data.resized_side)");
}

Box draw_crop(ImageSize whole, int size, Cut cut, Philox random) {
  require(whole.height >= size && whole.width >= size, "crop of ", size, " from ", whole.height, "x", whole.width);
  if (cut == Cut::centre) return centre_box(whole, {size, size});
  const int top = anywhere(whole.height - size, random);
  return {top, anywhere(whole.width - size, random), size, size};
}

Box draw_resized_crop(ImageSize whole, Philox random) {
  const double area = double(whole.height) * whole.width;
  for (int i = 0; i < kTries; ++i) {
    const double target = area * between(kLeastArea, 1, random);
    const double ratio = std::exp(between(std::log(kNarrowest), std::log(kWidest), random));
    const int width = static_cast<int>(std::lround(std::sqrt(target * ratio)));
    const int height = static_cast<int>(std::lround(std::sqrt(target / ratio)));
    if (width < 1 || height < 1 || width > whole.width || height > whole.height) continue;
    const int top = anywhere(whole.height - height, random);
    return {top, anywhere(whole.width - width, random), height, width};
  }
  return whole_height_or_width(whole);
}

Box pixels_for_cut(ImageSize whole, const PictureGeometry& geometry, Cut cut, Philox random) {
  if (cut == Cut::random_resized_crop) return draw_resized_crop(whole, random);
  const ImageSize resized = size_with_shorter_side(whole, geometry.resized);
  return pixels_for(whole, resized, draw_crop(resized, geometry.size, cut, random));
}

Image cut_image(const Image& picture, const PictureGeometry& geometry, Cut cut, Philox random) {
  const ImageSize whole{picture.height, picture.width};
  if (cut == Cut::random_resized_crop)
    return resize_bilinear(part_of(picture, draw_resized_crop(whole, random)), {geometry.size, geometry.size});
  const ImageSize resized = size_with_shorter_side(whole, geometry.resized);
  return resize_bilinear(picture, resized, draw_crop(resized, geometry.size, cut, random));
}

}  // namespace apotnet
