#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/loader.h"
#include "tests/support/files.h"

namespace apotnet::test {

inline void write_file(const std::filesystem::path& file, const std::string& bytes) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << bytes;
}

/// The Error that `f` throws.
template <typename F>
std::optional<Error> error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  return {};
}

/// `f` must throw that category with one line that has every one of `parts`.
template <typename F>
void check_error(F&& f, ErrorCategory category, const std::vector<std::string>& parts) {
  const std::optional<Error> error = error_of(std::forward<F>(f));
  REQUIRE(error);
  const std::string message = error->what();
  CAPTURE(message);
  CHECK(error->category() == category);
  CHECK(message.find('\n') == std::string::npos);
  for (const std::string& part : parts) {
    CAPTURE(part);
    CHECK(message.find(part) != std::string::npos);
  }
}

/// What a device makes of a batch of pixels.
inline Tensor images_from(const Batch& batch, const Dataset& dataset, int pad) {
  Tensor images(batch.pixels.shape(), DType::f32);
  const Normaliser normalise(dataset.info().mean, dataset.info().std);
  const auto size = static_cast<size_t>(dataset.image_bytes());
  for (size_t n = 0; n * 4 < batch.placements.data<int32_t>().size(); ++n) {
    const auto place = batch.placements.data<int32_t>().subspan(4 * n, 4);
    place_and_normalise_plain(batch.pixels.data<uint8_t>().subspan(static_cast<size_t>(place[0]) * size, size),
                              dataset.height(), dataset.width(), pad, {place[1], place[2], place[3] != 0}, normalise,
                              images.data<float>().subspan(n * size, size));
  }
  return images;
}

/// `count` images of random bytes with labels 0 to 9.
inline std::shared_ptr<const Dataset> random_dataset(int64_t count, int height = 5, int width = 4, int channels = 3) {
  Philox random(3, RandomStream::test);
  const size_t bytes = static_cast<size_t>(count * height * width * channels);
  std::vector<uint8_t> images(bytes), labels(static_cast<size_t>(count));
  for (uint8_t& value : images) value = static_cast<uint8_t>(random.next_u32());
  for (uint8_t& label : labels) label = static_cast<uint8_t>(random.below(10));
  const size_t c = static_cast<size_t>(channels);
  DatasetInfo info{"random",
                   "train",
                   std::vector<std::string>(10, "class"),
                   height,
                   width,
                   channels,
                   std::vector<float>(c, .4f),
                   std::vector<float>(c, .3f)};
  return std::make_shared<MemoryDataset>(std::move(info), std::move(images), std::move(labels));
}

}  // namespace apotnet::test
