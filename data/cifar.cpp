#include "data/cifar.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr int kSide = 32;
constexpr size_t kPlane = size_t{kSide} * kSide;
constexpr size_t kImageBytes = 3 * kPlane;

/// What differs between the two.
struct Format {
  const char* name;
  DatasetArchive archive;
  std::vector<const char*> train_files, test_files;
  std::vector<int> label_limits;  // one label byte each; the last one is the class
  const char* class_name_file;
  const char* class_names;  // built in, separated by spaces
  std::vector<float> mean, std;

  const std::vector<const char*>& files(Split split) const { return split == Split::train ? train_files : test_files; }
  size_t record_bytes() const { return label_limits.size() + kImageBytes; }
};

const Format& cifar10() {
  static const Format format{
      "cifar10",
      {.url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
       .sha256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
       .folder = "cifar-10-batches-bin",
       .size = "162 MB",
       .train_images = 50'000,
       .test_images = 10'000},
      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
      {"test_batch.bin"},
      {10},
      "batches.meta.txt",
      "airplane automobile bird cat deer dog frog horse ship truck",
      {.491f, .482f, .447f},
      {.247f, .243f, .262f}};
  return format;
}

const Format& cifar100() {
  static const Format format{
      "cifar100",
      {.url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
       .sha256 = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
       .folder = "cifar-100-binary",
       .size = "161 MB",
       .train_images = 50'000,
       .test_images = 10'000},
      {"train.bin"},
      {"test.bin"},
      {20, 100},
      "fine_label_names.txt",
      "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
      "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
      "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
      "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
      "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
      "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
      "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm",
      {.507f, .487f, .441f},
      {.267f, .256f, .276f}};
  return format;
}

bool holds_any_file(const Format& format, const fs::path& folder) {
  std::error_code ignored;
  for (const Split split : {Split::train, Split::test})
    for (const char* file : format.files(split))
      if (fs::exists(folder / file, ignored)) return true;
  return false;
}

bool holds(const Format& format, const fs::path& folder) {
  return holds_any_file(format, folder) || holds_any_file(format, folder / format.archive.folder);
}

std::string with_fetch(const Format& format) { return text(" with apotnet data fetch ", format.name); }

/// How messages about a damaged or half-empty folder end: fetch leaves alone what is there.
std::string again(const Format& format) { return "; delete the folder and get it again" + with_fetch(format); }

/// The folder that has the files of `split`, all of them.
fs::path find_files(const Format& format, const fs::path& folder, Split split) {
  const fs::path unpacked = folder / format.archive.folder;
  const fs::path& found = holds_any_file(format, unpacked) && !holds_any_file(format, folder) ? unpacked : folder;
  for (const char* file : format.files(split)) {
    std::error_code ignored;
    if (fs::exists(found / file, ignored)) continue;
    fail(ErrorCategory::input_missing, format.name, ": no ", file, " in ", folder.string(), " or its folder ",
         format.archive.folder, holds(format, folder) ? again(format) : "; get it" + with_fetch(format),
         ", or name another folder with --data ", format.name, ":DIR");
  }
  return found;
}

/// Bytes of `file`, which must be a regular file.
uintmax_t size_of_file(const fs::path& file) {
  std::error_code failure;
  if (!fs::is_regular_file(file, failure)) fail(ErrorCategory::damaged_data, file.string(), ": not a file");
  const uintmax_t bytes = fs::file_size(file, failure);
  if (failure) fail(ErrorCategory::damaged_data, file.string(), ": cannot read its size: ", failure.message());
  return bytes;
}

size_t count_records(const Format& format, const fs::path& file) {
  const uintmax_t bytes = size_of_file(file), record = format.record_bytes();
  if (bytes == 0) fail(ErrorCategory::damaged_data, file.string(), ": empty", again(format));
  if (bytes % record != 0)
    fail(ErrorCategory::damaged_data, file.string(), ": record ", bytes / record, " ends after ", bytes % record,
         " of ", record, " bytes (the file has ", bytes, ")", again(format));
  return bytes / record;
}

void check_labels(const Format& format, const fs::path& file, size_t record, const std::vector<uint8_t>& bytes) {
  for (size_t i = 0; i < format.label_limits.size(); ++i) {
    const int limit = format.label_limits[i];
    if (bytes[i] < limit) continue;
    const bool is_class = i + 1 == format.label_limits.size();
    fail(ErrorCategory::damaged_data, file.string(), ": record ", record, ": ", is_class ? "label " : "coarse label ",
         int{bytes[i]}, " is not in 0 to ", limit - 1, again(format));
  }
}

/// Appends all records of `file`; planes become interleaved pixels.
void read_records(const Format& format, const fs::path& file, std::vector<uint8_t>& images,
                  std::vector<uint8_t>& labels) {
  const size_t label_bytes = format.label_limits.size();
  std::ifstream in(file, std::ios::binary);
  if (!in) fail(ErrorCategory::input_missing, file.string(), ": cannot be opened; check its permissions");
  std::vector<uint8_t> record(format.record_bytes());
  const size_t records = count_records(format, file);
  for (size_t r = 0; r < records; ++r) {
    in.read(reinterpret_cast<char*>(record.data()), static_cast<std::streamsize>(record.size()));
    if (!in) fail(ErrorCategory::damaged_data, file.string(), ": record ", r, " cannot be read");
    check_labels(format, file, r, record);
    labels.push_back(record[label_bytes - 1]);
    const uint8_t* planes = record.data() + label_bytes;
    images.resize(images.size() + kImageBytes);
    uint8_t* to = images.data() + images.size() - kImageBytes;
    for (size_t pixel = 0; pixel < kPlane; ++pixel)
      for (size_t channel = 0; channel < 3; ++channel) *to++ = planes[channel * kPlane + pixel];
  }
}

DatasetInfo info_of(const Format& format) {
  std::vector<std::string> names;
  std::istringstream built_in(format.class_names);
  for (std::string name; built_in >> name;) names.push_back(name);
  return {format.name, "", std::move(names), kSide, kSide, 3, format.mean, format.std};
}

/// The names in `folder`, or those built in when it has none.
std::vector<std::string> read_class_names(const Format& format, const fs::path& folder) {
  const size_t classes = static_cast<size_t>(format.label_limits.back());
  const fs::path file = folder / format.class_name_file;
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return info_of(format).class_names;
  const uintmax_t bytes = size_of_file(file), most = 1 << 16;
  if (bytes > most)
    fail(ErrorCategory::damaged_data, file.string(), ": ", bytes, " bytes are no list of ", classes, " class names");
  std::ifstream in(file);
  std::vector<std::string> names;
  for (std::string line; std::getline(in, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty()) names.push_back(line);
  }
  if (names.size() != classes)
    fail(ErrorCategory::damaged_data, file.string(), ": ", names.size(), " class names, expected ", classes,
         "; correct or delete the file (the names are built in)");
  return names;
}

std::shared_ptr<const Dataset> read(const Format& format, const fs::path& given, Split split) {
  const fs::path folder = find_files(format, given, split);
  size_t records = 0;
  for (const char* file : format.files(split)) records += count_records(format, folder / file);

  std::vector<uint8_t> images, labels;
  images.reserve(records * kImageBytes);
  labels.reserve(records);
  for (const char* file : format.files(split)) read_records(format, folder / file, images, labels);

  DatasetInfo info = info_of(format);
  info.split_name = name_of(split);
  info.class_names = read_class_names(format, folder);
  return std::make_shared<MemoryDataset>(std::move(info), std::move(images), std::move(labels));
}

}  // namespace

std::shared_ptr<const Dataset> read_cifar10(const fs::path& folder, Split split) {
  return read(cifar10(), folder, split);
}

std::shared_ptr<const Dataset> read_cifar100(const fs::path& folder, Split split) {
  return read(cifar100(), folder, split);
}

DatasetInfo cifar10_info() { return info_of(cifar10()); }
DatasetInfo cifar100_info() { return info_of(cifar100()); }

DatasetArchive cifar10_archive() { return cifar10().archive; }
DatasetArchive cifar100_archive() { return cifar100().archive; }

bool holds_cifar10(const fs::path& folder) { return holds(cifar10(), folder); }
bool holds_cifar100(const fs::path& folder) { return holds(cifar100(), folder); }

}  // namespace apotnet
