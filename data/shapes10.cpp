#include "data/shapes10.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/parallel.h"
#include "core/base/philox.h"

namespace apotnet {
namespace {

constexpr int kSide = 32;
constexpr int kClasses = 10;

struct Point {
  float x, y;
};

// Distance functions in the shape's own coordinates: negative inside, about one unit per `1 / size` pixels.
float box(Point p, float half_width, float half_height) {
  return std::max(std::abs(p.x) - half_width, std::abs(p.y) - half_height);
}

float bars(Point p, float arm) { return std::min(box(p, 1, arm), box(p, arm, 1)); }

float triangle(Point p) {
  // Three half planes of an equilateral triangle around the origin, one corner up.
  const float side = 0.8660254f * std::abs(p.x) - 0.5f * p.y;
  return std::max(side, p.y) - 0.5f;
}

float stripe(float coordinate) { return std::abs(std::fmod(std::abs(coordinate) + 0.25f, 1.0f) - 0.5f) - 0.25f; }

float distance(int32_t shape, Point p) {
  const float radius = std::hypot(p.x, p.y);
  constexpr float kDiagonal = std::numbers::sqrt2_v<float> / 2;
  switch (shape) {
    case 0:
      return radius - 1;  // disc
    case 1:
      return std::abs(radius - 0.8f) - 0.22f;  // ring
    case 2:
      return box(p, 0.85f, 0.85f);  // square
    case 3:
      return std::abs(box(p, 0.75f, 0.75f)) - 0.2f;  // frame
    case 4:
      return triangle({p.x, p.y});  // triangle
    case 5:
      return bars({(p.x + p.y) * kDiagonal, (p.x - p.y) * kDiagonal}, 0.22f);  // cross
    case 6:
      return bars(p, 0.22f);  // plus
    case 7:
      return std::max(stripe(p.y * 1.25f) / 1.25f, box(p, 1, 1));  // horizontal stripes
    case 8:
      return std::max(stripe(p.x * 1.25f) / 1.25f, box(p, 1, 1));  // vertical stripes
    default: {                                                     // checkerboard
      const float a = stripe(p.x + 0.25f), b = stripe(p.y + 0.25f);
      return std::max((a < 0) == (b < 0) ? -std::min(std::abs(a), std::abs(b)) : std::min(std::abs(a), std::abs(b)),
                      box(p, 1, 1));
    }
  }
}

struct Colour {
  float r, g, b;
  float luminance() const { return 0.3f * r + 0.6f * g + 0.1f * b; }
};

Colour random_colour(Philox& random) { return {random.uniform(), random.uniform(), random.uniform()}; }

void draw(int32_t shape, Philox random, uint8_t* pixels) {
  const float size = 7 + 5 * random.uniform();
  const Point centre{15.5f + (random.uniform() - 0.5f) * 9, 15.5f + (random.uniform() - 0.5f) * 9};
  const float angle = (random.uniform() - 0.5f) * 0.5f;  // up to 14 degrees: a plus stays a plus
  const Colour back = random_colour(random);
  Colour front = random_colour(random);
  while (std::abs(front.luminance() - back.luminance()) < 0.25f) front = random_colour(random);
  const float shade_x = (random.uniform() - 0.5f) * 0.01f, shade_y = (random.uniform() - 0.5f) * 0.01f;
  const float noise = 0.02f + 0.06f * random.uniform();
  const float c = std::cos(angle) / size, s = std::sin(angle) / size;
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      const Point d{static_cast<float>(x) - centre.x, static_cast<float>(y) - centre.y};
      const float signed_distance = distance(shape, {c * d.x + s * d.y, c * d.y - s * d.x}) * size;
      const float cover = std::clamp(0.5f - signed_distance, 0.0f, 1.0f);  // the edge pixel is mixed
      const float shade = shade_x * (static_cast<float>(x) - 16) + shade_y * (static_cast<float>(y) - 16);
      const float grain = noise * (random.uniform() + random.uniform() - 1);
      for (const auto& [f, b] : {std::pair{front.r, back.r}, {front.g, back.g}, {front.b, back.b}}) {
        const float value = cover * f + (1 - cover) * b + shade + grain;
        *pixels++ = static_cast<uint8_t>(std::clamp(value, 0.0f, 1.0f) * 255 + 0.5f);
      }
    }
}

}  // namespace

std::shared_ptr<Dataset> make_shapes10(Split split, int64_t count, uint64_t seed) {
  MemoryDataset::Content content{.name = "shapes10",
                                 .class_names = {"disc", "ring", "square", "frame", "triangle", "cross", "plus",
                                                 "horizontal stripes", "vertical stripes", "checkerboard"},
                                 .normalisation = {{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}},
                                 .pixels = {},
                                 .labels = {}};
  constexpr size_t kBytes = size_t{3} * kSide * kSide;
  content.pixels.resize(static_cast<size_t>(count) * kBytes);
  content.labels.resize(static_cast<size_t>(count));
  parallel_ranges(count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto index = static_cast<size_t>(i);
      content.labels[index] = static_cast<int32_t>(i % kClasses);
      const Philox random(seed, RandomStream::shapes10, static_cast<uint32_t>(split), static_cast<uint32_t>(i));
      draw(content.labels[index], random, content.pixels.data() + index * kBytes);
    }
  });
  return std::make_shared<MemoryDataset>(std::move(content));
}

}  // namespace apotnet
