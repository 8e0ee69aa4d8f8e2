#pragma once

#include <filesystem>

#include "tests/support/cifar_records.h"
#include "tests/support/golden.h"

namespace apotnet::test {

/// The authors' 3-bit ResNet-20, what their code computed with it, and the test images that it saw.
struct AuthorsResnet20 {
  std::filesystem::path checkpoint = reference_file("resnet20_3bit.pth.tar"),
                        expected = reference_file("resnet20_3bit.safetensors"),
                        images = data_path("cifar-10-batches-bin/test_batch.bin");

  /// For SKIP_WITHOUT: whether one of them is not there.
  bool empty() const { return checkpoint.empty() || expected.empty() || images.empty(); }
  CifarRecords first(int64_t count) const { return first_records(images, count); }
};

}  // namespace apotnet::test
