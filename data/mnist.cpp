#include "data/mnist.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr int kSide = 28;
constexpr int64_t kMostImages = 1'000'000;
constexpr std::array kFolders{"", "mnist", "MNIST/raw"};

std::string stem_of(Split split) { return split == Split::train ? "train" : "t10k"; }
std::string images_of(Split split) { return stem_of(split) + "-images-idx3-ubyte"; }
std::string labels_of(Split split) { return stem_of(split) + "-labels-idx1-ubyte"; }

// The file, or the packed one.
std::optional<fs::path> find_file(const fs::path& folder, const std::string& name) {
  for (const char* inner : kFolders)
    for (const char* extension : {"", ".gz"}) {
      std::error_code ignored;
      if (const fs::path path = folder / inner / (name + extension); fs::exists(path, ignored)) return path;
    }
  return {};
}

/// An idx file of bytes; zlib passes unpacked files through as they are.
class IdxFile {
 public:
  IdxFile(const fs::path& folder, const std::string& name) {
    const auto path = find_file(folder, name);
    if (!path)
      fail(ErrorCategory::input_missing, "mnist: no ", name, " (or .gz) in ", folder.string(),
           ", mnist or MNIST/raw in it; name another folder with --data mnist:DIR");
    path_ = path->string();
    file_ = gzopen(path_.c_str(), "rb");
    if (!file_) fail(ErrorCategory::input_missing, path_, ": cannot be opened; check its permissions");
  }
  IdxFile(const IdxFile&) = delete;
  IdxFile& operator=(const IdxFile&) = delete;
  ~IdxFile() { gzclose(file_); }

  /// The dimensions; the first is the number of records.
  std::vector<int64_t> read_header(size_t dimensions) {
    const std::vector<uint8_t> head = read(4 + 4 * dimensions);
    if (head[0] != 0 || head[1] != 0 || head[2] != 8 || head[3] != dimensions)
      damaged("is no idx file of bytes in ", dimensions, " dimensions");
    std::vector<int64_t> sizes;
    for (size_t i = 4; i < head.size(); i += 4)
      sizes.push_back(int64_t{head[i]} << 24 | head[i + 1] << 16 | head[i + 2] << 8 | head[i + 3]);
    if (sizes[0] < 1 || sizes[0] > kMostImages)
      damaged("says it holds ", sizes[0], " records; 1 to ", kMostImages, " are taken");
    return sizes;
  }
  std::vector<uint8_t> read(size_t bytes) {
    std::vector<uint8_t> content(bytes);
    const int got = gzread(file_, content.data(), static_cast<unsigned>(bytes));
    if (got < 0 || static_cast<size_t>(got) != bytes)
      damaged("is cut off: ", std::max(got, 0), " of ", bytes, " bytes");
    return content;
  }
  void expect_end() {
    if (gzgetc(file_) != -1) damaged("goes on behind its last record");
    if (int code = Z_OK; gzerror(file_, &code), code != Z_OK) damaged("is damaged at its end");
  }
  template <typename... Parts>
  [[noreturn]] void damaged(const Parts&... why) const {
    fail(ErrorCategory::damaged_data, path_, ": ", why..., "; get the file again");
  }

 private:
  std::string path_;
  gzFile file_ = nullptr;
};

}  // namespace

std::shared_ptr<const Dataset> read_mnist(const fs::path& folder, Split split) {
  IdxFile image_file(folder, images_of(split)), label_file(folder, labels_of(split));
  const auto sizes = image_file.read_header(3);
  if (sizes[1] != kSide || sizes[2] != kSide)
    image_file.damaged("images are ", sizes[2], " x ", sizes[1], ", not 28 x 28");
  if (const auto count = label_file.read_header(1)[0]; count != sizes[0])
    label_file.damaged("has ", count, " labels for ", sizes[0], " images");
  std::vector<uint8_t> images = image_file.read(static_cast<size_t>(sizes[0]) * kSide * kSide);
  std::vector<uint8_t> labels = label_file.read(static_cast<size_t>(sizes[0]));
  image_file.expect_end();
  label_file.expect_end();
  if (const auto found = std::ranges::find_if(labels, [](uint8_t label) { return label > 9; }); found != labels.end())
    label_file.damaged("label ", found - labels.begin(), " is ", int{*found}, ", not 0 to 9");
  DatasetInfo info = mnist_info();
  info.split_name = name_of(split);
  return std::make_shared<MemoryDataset>(std::move(info), std::move(images), std::move(labels));
}

DatasetInfo mnist_info() {
  return {.name = "mnist",
          .split_name = "",
          .class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"},
          .height = kSide,
          .width = kSide,
          .channels = 1,
          .mean = {.1307f},
          .std = {.3081f}};
}

bool holds_mnist(const fs::path& folder) {
  return std::ranges::any_of(std::array{Split::train, Split::test},
                             [&](Split split) { return find_file(folder, images_of(split)).has_value(); });
}

}  // namespace apotnet
