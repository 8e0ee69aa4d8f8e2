#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/image.h"

namespace apotnet {

/// Pictures with what a network takes them for, as one self-contained HTML page: no script, nothing loaded from
/// elsewhere.
class ContactSheet {
 public:
  /// `network` says which one, as "resnet18, 4 bits, model.safetensors".
  explicit ContactSheet(std::string network) : network_(std::move(network)) {}

  /// `top`: names and probabilities, the most probable first. A small copy of the picture is kept.
  void add(const std::string& path, const Image& picture, const std::vector<std::pair<std::string, double>>& top);
  /// A file that could not be read, and why.
  void add_failure(const std::string& message);

  std::string page() const;
  /// The same into a file. Error(cannot_write).
  void write(const std::string& path) const;

 private:
  std::string network_, figures_, failures_;
  size_t count_ = 0, failed_ = 0;
};

}  // namespace apotnet
