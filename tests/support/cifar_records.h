#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/support/check_data.h"

namespace apotnet::test {

/// Records of CIFAR-10 as the network takes them.
struct CifarRecords {
  Tensor images;  // [N, 32, 32, 3], normalised
  Tensor labels;
};

/// The first `count` records of a CIFAR-10 file: a label and 3 planes of 32 x 32 bytes each.
inline CifarRecords first_records(const std::filesystem::path& path, int64_t count) {
  constexpr float kMean[] = {0.491f, 0.482f, 0.447f}, kStd[] = {0.247f, 0.243f, 0.262f};
  constexpr size_t kPixels = 1024, kRecord = 1 + 3 * kPixels;
  std::vector<char> bytes(static_cast<size_t>(count) * kRecord);
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.read(bytes.data(), static_cast<std::streamsize>(bytes.size())));
  CifarRecords batch{Tensor({count, 32, 32, 3}, DType::f32), Tensor({count}, DType::s32)};
  for (size_t n = 0; n < static_cast<size_t>(count); ++n) {
    batch.labels.data<int32_t>()[n] = bytes[n * kRecord];
    for (size_t pixel = 0; pixel < kPixels; ++pixel)
      for (size_t c = 0; c < 3; ++c) {
        const auto value = static_cast<uint8_t>(bytes[n * kRecord + 1 + c * kPixels + pixel]);
        batch.images.data<float>()[(n * kPixels + pixel) * 3 + c] =
            (static_cast<float>(value) / 255.0f - kMean[c]) / kStd[c];
      }
  }
  check_data(batch.images);
  return batch;
}

}  // namespace apotnet::test
