#pragma once

#include <filesystem>
#include <string>

#include "core/io/checkpoint_file.h"
#include "core/io/layout.h"
#include "tests/support/check_data.h"
#include "tests/support/test_data.h"

namespace apotnet::test {

/// A file of tensors that the reference produced; weights and activations come in our layouts.
class Golden {
 public:
  explicit Golden(const std::filesystem::path& path) : file_(read_checkpoint_file(path.string())) {}

  /// OIHW -> OHWI and NCHW -> NHWC are the same exchange; other ranks are as in the file.
  Tensor operator[](const std::string& name) const {
    const Tensor* tensor = file_.find(name);
    REQUIRE_MESSAGE(tensor, name);
    return weight_from_pytorch(*tensor);
  }
  double scalar(const std::string& name) const { return (*this)[name].item(); }
  std::string metadata(const std::string& key) const {
    const auto entry = file_.metadata.find(key);
    return entry == file_.metadata.end() ? "" : entry->second;
  }
  const TensorFile& file() const { return file_; }

 private:
  TensorFile file_;
};

}  // namespace apotnet::test
