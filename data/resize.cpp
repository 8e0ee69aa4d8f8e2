#include "data/resize.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "core/base/isa.h"
#include "data/resize_taps.h"

namespace apotnet {
namespace {

// For the outputs begin to begin + count - 1 of `out_side`. Every expression is in the order of Pillow's Resample.c:
// another order rounds differently.
Taps triangle_taps(int in_side, int out_side, int begin, int count) {
  const double scale = static_cast<double>(in_side) / out_side;
  const double support = std::max(scale, 1.0), inverse = 1.0 / support;
  Taps taps;
  std::vector<double> line;
  for (int out = begin; out < begin + count; ++out) {
    const double centre = (out + 0.5) * scale;
    const int first = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int end = std::min(static_cast<int>(centre + support + 0.5), in_side);
    line.clear();
    double sum = 0;
    for (int i = 0; i < end - first; ++i) {
      const double distance = std::abs((i + first - centre + 0.5) * inverse);
      line.push_back(distance < 1.0 ? 1.0 - distance : 0.0);
      sum += line.back();
    }
    taps.ranges.push_back({first, end - first, taps.weights.size()});
    for (const double weight : line) {
      const double share = sum != 0 ? weight / sum : weight;
      taps.weights.push_back(static_cast<int32_t>(0.5 + share * (1 << Taps::kPrecisionBits)));
    }
  }
  return taps;
}

void resize_row(const uint8_t* row, int, const Taps& taps, uint8_t* out) {
  for (const Taps::Range& range : taps.ranges) {
    const int32_t* weights = taps.weights.data() + range.weights;
    const uint8_t* in = row + ptrdiff_t{3} * range.first;
    int32_t red = Taps::kHalf, green = red, blue = red;
    for (int i = 0; i < range.count; ++i, in += 3) {
      red += in[0] * weights[i];
      green += in[1] * weights[i];
      blue += in[2] * weights[i];
    }
    *out++ = round_to_byte(red);
    *out++ = round_to_byte(green);
    *out++ = round_to_byte(blue);
  }
}

void blend_rows(const uint8_t* rows, size_t bytes, const int32_t* weights, int count, uint8_t* out) {
  constexpr size_t kTile = 256;  // sums stay in the first cache
  int32_t sums[kTile];
  for (size_t begin = 0; begin < bytes; begin += kTile) {
    const size_t width = std::min(kTile, bytes - begin);
    std::fill_n(sums, width, Taps::kHalf);
    for (int i = 0; i < count; ++i) {
      const uint8_t* row = rows + static_cast<size_t>(i) * bytes + begin;
      const int32_t weight = weights[i];
      for (size_t x = 0; x < width; ++x) sums[x] += row[x] * weight;
    }
    for (size_t x = 0; x < width; ++x) out[begin + x] = round_to_byte(sums[x]);
  }
}

const ResizeLoops& resize_loops() {
#if defined(__x86_64__)
  if (selected_isa() >= Isa::avx2) return kAvx2Resize;
#endif
  return kPlainResize;
}

}  // namespace

const ResizeLoops kPlainResize{resize_row, blend_rows};

ImageSize size_with_shorter_side(ImageSize size, int side) {
  const int64_t shorter = std::min(size.height, size.width), longer = std::max(size.height, size.width);
  const int scaled = static_cast<int>(side * longer / shorter);
  return size.height < size.width ? ImageSize{side, scaled} : ImageSize{scaled, side};
}

Box centre_box(ImageSize whole, ImageSize part) {
  const auto offset = [](int room) { return room / 2 + (room % 2) * (room / 2 % 2); };
  return {offset(whole.height - part.height), offset(whole.width - part.width), part.height, part.width};
}

Image resize_bilinear(const Image& image, ImageSize size, const Box& box) {
  require(image.height > 0 && image.width > 0 && box.height > 0 && box.width > 0, "resize: an empty image");
  require(box.top >= 0 && box.left >= 0 && box.top + box.height <= size.height && box.left + box.width <= size.width,
          "resize: box ", box.height, "x", box.width, " at ", box.top, ",", box.left, " of ", size.height, "x",
          size.width);
  const ResizeLoops& loops = resize_loops();
  const Taps across = triangle_taps(image.width, size.width, box.left, box.width);
  const Taps down = triangle_taps(image.height, size.height, box.top, box.height);

  const size_t in_bytes = static_cast<size_t>(image.width) * 3, out_bytes = static_cast<size_t>(box.width) * 3;
  const int first = down.ranges.front().first, end = down.ranges.back().first + down.ranges.back().count;
  std::vector<uint8_t> narrow(static_cast<size_t>(end - first) * out_bytes);
  for (int y = first; y < end; ++y)
    loops.resize_row(image.pixels.data() + static_cast<size_t>(y) * in_bytes, image.width, across,
                     narrow.data() + static_cast<size_t>(y - first) * out_bytes);

  Image result{box.height, box.width, std::vector<uint8_t>(static_cast<size_t>(box.height) * out_bytes)};
  uint8_t* out = result.pixels.data();
  for (const Taps::Range& range : down.ranges) {
    loops.blend_rows(narrow.data() + static_cast<size_t>(range.first - first) * out_bytes, out_bytes,
                     down.weights.data() + range.weights, range.count, out);
    out += out_bytes;
  }
  return result;
}

Box pixels_for(ImageSize whole, ImageSize size, const Box& box) {
  const auto extent = [](const Taps& taps) {
    const Taps::Range &first = taps.ranges.front(), &last = taps.ranges.back();
    return std::pair(first.first, last.first + last.count - first.first);
  };
  const auto [top, height] = extent(triangle_taps(whole.height, size.height, box.top, box.height));
  const auto [left, width] = extent(triangle_taps(whole.width, size.width, box.left, box.width));
  return {top, left, height, width};
}

Image resize_bilinear(const Image& image, ImageSize size) {
  return resize_bilinear(image, size, {0, 0, size.height, size.width});
}

Image resize_and_crop(const Image& image, int side, ImageSize part) {
  require(part.height <= side && part.width <= side, "crop of ", part.height, "x", part.width, " from side ", side);
  const ImageSize size = size_with_shorter_side({image.height, image.width}, side);
  return resize_bilinear(image, size, centre_box(size, part));
}

}  // namespace apotnet
