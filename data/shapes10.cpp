#include "data/shapes10.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/sampler.h"

namespace apotnet {
namespace {

constexpr int kSide = 32;
constexpr size_t kImageBytes = size_t{kSide} * kSide * 3;
constexpr int kClasses = 10;
constexpr int64_t kMostImages = 1'000'000;

// The epoch slot of the random stream tells apart what is drawn: images and class orders, of train and of test.
uint32_t image_slot(Split split) { return split == Split::train ? 0 : 1; }
uint32_t order_slot(Split split) { return split == Split::train ? 2 : 3; }

/// Only operations that IEEE 754 rounds exactly (+ - * / sqrt floor), so the images are the same on every machine.
struct Point {
  float x, y;
};

float square_distance(Point p, float half_width, float half_height) {
  return std::max(std::abs(p.x) - half_width, std::abs(p.y) - half_height);
}

/// Stripes across the axis of `t`: distance to the nearest edge, negative inside a stripe.
float stripe_distance(float t, float period, float phase) {
  const float place = t / period + phase;
  const float fraction = place - std::floor(place);
  return (std::abs(fraction - 0.5f) - 0.25f) * period;
}

Point rotate_45(Point p) {
  constexpr float half_root = 0.70710678f;
  return {(p.x + p.y) * half_root, (p.y - p.x) * half_root};
}

/// What of a shape is random beside its place: all in [0, 1).
struct Form {
  float thickness, period, phase_x, phase_y;
};

/// Signed distance from `p` to the edge of a shape about as large as the unit circle: negative inside.
/// Exact near the edge, which is all that drawing needs.
float signed_distance(int label, Point p, const Form& form) {
  const float radius = std::sqrt(p.x * p.x + p.y * p.y);
  const float wall = 0.30f + 0.15f * form.thickness;
  const float arm = 0.22f + 0.12f * form.thickness;
  const float period = 0.60f + 0.25f * form.period;
  const auto plus = [&](Point q) { return std::min(square_distance(q, 1, arm), square_distance(q, arm, 1)); };
  switch (label) {
    case 0:
      return radius - 1;
    case 1:
      return std::max(radius - 1, 1 - wall - radius);
    case 2:
      return square_distance(p, .9f, .9f);
    case 3:
      return std::max(square_distance(p, .9f, .9f), -square_distance(p, .9f - wall, .9f - wall));
    case 4:  // equilateral, the base below: three half planes
      return std::max(p.y - .65f, .86602540f * std::abs(p.x) - .5f * p.y - .65f);
    case 5:
      return plus(rotate_45(p));
    case 6:
      return plus(p);
    case 7:
      return std::max(square_distance(p, 1, 1), stripe_distance(p.y, period, form.phase_y));
    case 8:
      return std::max(square_distance(p, 1, 1), stripe_distance(p.x, period, form.phase_x));
    default: {
      const float across = stripe_distance(p.x, 1.25f * period, form.phase_x);
      const float down = stripe_distance(p.y, 1.25f * period, form.phase_y);
      return std::max(square_distance(p, 1, 1), std::max(std::min(across, down), -std::max(across, down)));
    }
  }
}

using Colour = std::array<float, 3>;

Colour draw_colour(Philox& random) {
  Colour colour;
  for (float& value : colour) value = 0.1f + 0.8f * random.uniform();
  return colour;
}

float contrast(const Colour& a, const Colour& b) {
  return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
}

/// One image, from the outermost choice to the innermost.
struct Scene {
  Colour background, foreground, gradient;
  float gradient_x, gradient_y;  // in [-1, 1]: how the background changes across the image
  float centre_x, centre_y, radius, cosine, sine;
  Form form;
  float noise;
};

Scene draw_scene(Philox& random) {
  const auto between = [&](float low, float high) { return low + (high - low) * random.uniform(); };
  Scene scene;
  scene.background = draw_colour(random);
  do scene.foreground = draw_colour(random);
  while (contrast(scene.background, scene.foreground) < 0.5f);
  for (float& value : scene.gradient) value = between(-.15f, .15f);
  scene.gradient_x = between(-1, 1);
  scene.gradient_y = between(-1, 1);
  scene.radius = between(6.5f, 12);
  const float room = kSide / 2 - scene.radius;
  scene.centre_x = kSide / 2 + between(-room, room);
  scene.centre_y = kSide / 2 + between(-room, room);
  const float half_tangent = between(-.11f, .11f);  // tan(angle / 2): up to 12.5 degrees
  scene.cosine = (1 - half_tangent * half_tangent) / (1 + half_tangent * half_tangent);
  scene.sine = 2 * half_tangent / (1 + half_tangent * half_tangent);
  scene.form = {random.uniform(), random.uniform(), random.uniform(), random.uniform()};
  scene.noise = between(.02f, .09f);
  return scene;
}

/// The sum of four random bytes: near normal, standard deviation 1, from integers alone.
float bell(Philox& random) {
  const uint32_t bits = random.next_u32();
  const uint32_t sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
  return (static_cast<float>(sum) - 510.0f) / 147.8f;
}

void draw_image(int label, Philox random, std::span<uint8_t> hwc) {
  const Scene scene = draw_scene(random);
  uint8_t* to = hwc.data();
  for (int y = 0; y < kSide; ++y)
    for (int x = 0; x < kSide; ++x) {
      const float dx = (static_cast<float>(x) + 0.5f - scene.centre_x) / scene.radius;
      const float dy = (static_cast<float>(y) + 0.5f - scene.centre_y) / scene.radius;
      const Point p{scene.cosine * dx + scene.sine * dy, scene.cosine * dy - scene.sine * dx};
      // The share of the pixel inside the shape: its edge is taken as straight.
      const float inside = std::clamp(0.5f - signed_distance(label, p, scene.form) * scene.radius, 0.0f, 1.0f);
      const float slope = (scene.gradient_x * static_cast<float>(2 * x - kSide) +
                           scene.gradient_y * static_cast<float>(2 * y - kSide)) /
                          kSide;
      for (size_t c = 0; c < 3; ++c) {
        const float behind = scene.background[c] + slope * scene.gradient[c];
        const float value = behind + inside * (scene.foreground[c] - behind) + scene.noise * bell(random);
        *to++ = static_cast<uint8_t>(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f);
      }
    }
}

DatasetInfo info_of(Split split) {
  DatasetInfo info = shapes10_info();
  info.split_name = name_of(split);
  return info;
}

/// Draws an image when it is first asked for and keeps it: a training starts at once, its loader draws beside it.
class Shapes10 : public Dataset {
 public:
  Shapes10(uint64_t seed, Split split, int64_t count)
      : Dataset(info_of(split)),
        seed_(seed),
        split_(split),
        labels_(static_cast<size_t>(count)),
        images_(std::make_unique_for_overwrite<uint8_t[]>(labels_.size() * kImageBytes)),
        drawn_(std::make_unique<std::once_flag[]>(labels_.size())) {
    for (size_t first = 0; first < labels_.size(); first += kClasses) {
      std::vector<int64_t> classes = sequential_order(kClasses);
      shuffle(classes,
              Philox(seed, RandomStream::shapes10, order_slot(split), static_cast<uint32_t>(first / kClasses)));
      for (size_t i = first; i < std::min(first + kClasses, labels_.size()); ++i)
        labels_[i] = static_cast<uint8_t>(classes[i - first]);
    }
  }

  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }

  void read(int64_t index, std::span<uint8_t> hwc) const override {
    require(static_cast<int64_t>(hwc.size()) == image_bytes(), name(), ": room for ", hwc.size(), " bytes");
    std::ranges::copy(view(index), hwc.begin());
  }

  std::span<const uint8_t> view(int64_t index) const override {
    require(index >= 0 && index < size(), name(), ": image ", index, " of ", size());
    const auto i = static_cast<size_t>(index);
    const std::span<uint8_t> image(images_.get() + i * kImageBytes, kImageBytes);
    std::call_once(drawn_[i], [&] {
      draw_image(labels_[i], Philox(seed_, RandomStream::shapes10, image_slot(split_), static_cast<uint32_t>(index)),
                 image);
    });
    return image;
  }

  int label(int64_t index) const override {
    require(index >= 0 && index < size(), name(), ": label ", index, " of ", size());
    return labels_[static_cast<size_t>(index)];
  }

 private:
  const uint64_t seed_;
  const Split split_;
  std::vector<uint8_t> labels_;
  std::unique_ptr<uint8_t[]> images_;        // written through view(), each image once
  std::unique_ptr<std::once_flag[]> drawn_;  // per image
};

}  // namespace

DatasetInfo shapes10_info() {
  return {"shapes10",
          "",
          {"circle", "ring", "square", "frame", "triangle", "cross", "plus", "horizontal", "vertical", "checker"},
          kSide,
          kSide,
          3,
          {.5f, .5f, .5f},
          {.24f, .24f, .24f}};
}

std::shared_ptr<const Dataset> draw_shapes10(uint64_t seed, Split split, int64_t count) {
  if (count < 1 || count > kMostImages)
    fail(ErrorCategory::configuration, "shapes10: ", count, " ", name_of(split), " images; give 1 to ", kMostImages);
  return std::make_shared<Shapes10>(seed, split, count);
}

}  // namespace apotnet
