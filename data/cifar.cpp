#include "data/cifar.h"

#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/io/atomic_file.h"

namespace apotnet {
namespace fs = std::filesystem;
namespace {

constexpr size_t kSide = 32, kPlane = kSide * kSide, kPixels = 3 * kPlane;

// What tells the two data sets apart.
struct Format {
  std::string name, archive_folder, names_file;
  std::vector<std::string> train_files, test_files;
  std::vector<int> label_limits;  // one label byte each; the last is the class
  Normalisation normalisation;

  size_t record_bytes() const { return label_limits.size() + kPixels; }
  int classes() const { return label_limits.back(); }
};

const Format& cifar10() {
  static const Format format{.name = "cifar10",
                             .archive_folder = "cifar-10-batches-bin",
                             .names_file = "batches.meta.txt",
                             .train_files = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                             "data_batch_4.bin", "data_batch_5.bin"},
                             .test_files = {"test_batch.bin"},
                             .label_limits = {10},
                             .normalisation = {{0.491f, 0.482f, 0.447f}, {0.247f, 0.243f, 0.262f}}};
  return format;
}

const Format& cifar100() {
  static const Format format{.name = "cifar100",
                             .archive_folder = "cifar-100-binary",
                             .names_file = "fine_label_names.txt",
                             .train_files = {"train.bin"},
                             .test_files = {"test.bin"},
                             .label_limits = {20, 100},
                             .normalisation = {{0.507f, 0.487f, 0.441f}, {0.267f, 0.256f, 0.276f}}};
  return format;
}

// The folder that holds the files: `folder` itself or the archive's folder in it; empty if neither.
fs::path find_files(const Format& format, const fs::path& folder) {
  for (const fs::path& candidate : {folder, folder / format.archive_folder})
    if (fs::exists(candidate / format.test_files[0]) || fs::exists(candidate / format.train_files[0])) return candidate;
  return {};
}

std::vector<std::string> class_names(const Format& format, const fs::path& folder) {
  std::ifstream file(folder / format.names_file);
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (names.empty())
    for (int i = 0; i < format.classes(); ++i) names.push_back(text("class ", i));
  if (static_cast<int>(names.size()) != format.classes())
    fail(ErrorCategory::damaged_data, (folder / format.names_file).string(), ": has ", names.size(), " class names, ",
         format.name, " has ", format.classes(), " classes");
  return names;
}

void append_file(const Format& format, const fs::path& file, MemoryDataset::Content& content) {
  const std::vector<std::byte> bytes = read_file(file.string());
  const size_t record_bytes = format.record_bytes(), records = bytes.size() / record_bytes;
  if (bytes.empty() || bytes.size() % record_bytes != 0)
    fail(ErrorCategory::damaged_data, file.string(), ": has ", bytes.size(), " bytes, ", records, " records of ",
         record_bytes, " and ", bytes.size() % record_bytes, " more; download it again");
  const size_t before = content.labels.size();
  content.pixels.resize((before + records) * kPixels);
  for (size_t record = 0; record < records; ++record) {
    const auto* from = reinterpret_cast<const uint8_t*>(bytes.data()) + record * record_bytes;
    for (const int limit : format.label_limits)
      if (const int label = *from++; label >= limit)
        fail(ErrorCategory::damaged_data, file.string(), ": record ", record, " has the label ", label,
             ", labels are 0 to ", limit - 1, "; download it again");
    content.labels.push_back(from[-1]);
    uint8_t* to = content.pixels.data() + (before + record) * kPixels;
    for (size_t pixel = 0; pixel < kPlane; ++pixel)
      for (size_t channel = 0; channel < 3; ++channel) *to++ = from[channel * kPlane + pixel];
  }
}

std::shared_ptr<Dataset> open(const Format& format, const std::string& wanted, Split split) {
  const fs::path folder = find_files(format, wanted);
  if (folder.empty())
    fail(ErrorCategory::input_missing, wanted, ": no ", format.name, " here (looked for ", format.test_files[0],
         " and ", format.archive_folder, "/", format.test_files[0], "); download the binary version from ",
         "https://www.cs.toronto.edu/~kriz/cifar.html, unpack it and give --data ", format.name, ":FOLDER");
  MemoryDataset::Content content{.name = format.name,
                                 .class_names = class_names(format, folder),
                                 .normalisation = format.normalisation,
                                 .pixels = {},
                                 .labels = {}};
  const auto& files = split == Split::train ? format.train_files : format.test_files;
  // Room for all files at once: growing by doubling would allocate more than the files hold.
  std::error_code unknown;
  size_t bytes = 0;
  for (const std::string& file : files) {
    const auto size = fs::file_size(folder / file, unknown);
    bytes += unknown ? 0 : size;
  }
  content.pixels.reserve(bytes / format.record_bytes() * kPixels);
  content.labels.reserve(bytes / format.record_bytes());
  for (const std::string& file : files) append_file(format, folder / file, content);
  return std::make_shared<MemoryDataset>(std::move(content));
}

}  // namespace

std::shared_ptr<Dataset> open_cifar10(const std::string& folder, Split split) { return open(cifar10(), folder, split); }
std::shared_ptr<Dataset> open_cifar100(const std::string& folder, Split split) {
  return open(cifar100(), folder, split);
}
bool holds_cifar10(const std::string& folder) { return !find_files(cifar10(), folder).empty(); }
bool holds_cifar100(const std::string& folder) { return !find_files(cifar100(), folder).empty(); }

}  // namespace apotnet
