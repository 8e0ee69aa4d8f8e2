#include "data/picture_index.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "core/base/parallel.h"
#include "core/io/atomic_file.h"
#include "core/io/crc32c.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "the file holds numbers as they lie in memory");

struct Header {
  char magic[8] = {'A', 'P', 'O', 'T', 'P', 'I', 'X', '1'};
  uint64_t resized = 0, classes = 0, pictures = 0, name_bytes = 0;
  uint32_t checksum = 0, zero = 0;
};
static_assert(sizeof(Header) == 48);

struct Entry {
  uint64_t begin = 0;
  uint16_t height = 0, width = 0;
  uint32_t label = 0, checksum = 0, zero = 0;

  uint64_t bytes() const { return uint64_t{height} * width * 3; }
};
static_assert(sizeof(Entry) == 24);

constexpr uint64_t kMostClasses = 1 << 20, kMostNameBytes = 64 << 20;
constexpr int64_t kGroup = 64;  // pictures that are decoded side by side

std::span<const std::byte> bytes_of(const Image& image) { return std::as_bytes(std::span(image.pixels)); }

std::string joined_names(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) {
    if (name.find('\n') != std::string::npos)
      fail(ErrorCategory::damaged_data, "the class folder \"", name, "\" has a line feed in its name; rename it");
    all += name + "\n";
  }
  all.resize((all.size() + 7) / 8 * 8);
  return all;
}

/// A file as memory.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail(ErrorCategory::input_missing, path.string(), ": cannot be opened: ", std::strerror(errno));
    struct stat found {};
    const bool known = ::fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) && found.st_size > 0;
    size_ = known ? static_cast<size_t>(found.st_size) : 0;
    void* memory = known ? ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0) : MAP_FAILED;
    ::close(descriptor);
    if (memory == MAP_FAILED) fail(ErrorCategory::damaged_data, path.string(), ": cannot be mapped: empty or no file");
    memory_ = static_cast<const std::byte*>(memory);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() { ::munmap(const_cast<std::byte*>(memory_), size_); }

  std::span<const std::byte> bytes() const { return {memory_, size_}; }

 private:
  const std::byte* memory_ = nullptr;
  size_t size_ = 0;
};

class PictureIndex : public Dataset {
 public:
  PictureIndex(DatasetInfo info, const fs::path& path, std::unique_ptr<const MappedFile> file,
               const PictureGeometry& geometry, std::vector<Entry> entries)
      : Dataset(std::move(info)),
        path_(path.string()),
        file_(std::move(file)),
        geometry_(geometry),
        entries_(std::move(entries)) {}

  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  int label(int64_t index) const override { return static_cast<int>(at(index).label); }
  void read(int64_t index, std::span<uint8_t> hwc) const override {
    read_cut(index, Cut::centre, Philox(0, RandomStream::cut), hwc);
  }
  void read_cut(int64_t index, Cut cut, Philox random, std::span<uint8_t> hwc) const override {
    require(static_cast<int64_t>(hwc.size()) == image_bytes(), name(), ": room for ", hwc.size(), " bytes");
    if (cut == Cut::random_resized_crop)
      fail(ErrorCategory::configuration, "data.augment: random_resized_crop cuts before it resizes; ", path_,
           " holds resized pictures: use random_crop, or the folder of the pictures");
    const Entry& entry = at(index);
    const auto picture = file_->bytes().subspan(entry.begin, entry.bytes());
    if (crc32c(picture) != entry.checksum)
      fail(ErrorCategory::damaged_data, path_, ": picture ", index, " has a wrong checksum; make the file again");
    const Box box = draw_crop({entry.height, entry.width}, geometry_.size, cut, random);
    const size_t row = static_cast<size_t>(box.width) * 3;
    for (size_t y = 0; y < static_cast<size_t>(box.height); ++y) {
      const size_t from = (static_cast<size_t>(box.top) + y) * entry.width + static_cast<size_t>(box.left);
      std::memcpy(hwc.data() + y * row, picture.data() + 3 * from, row);
    }
  }

 private:
  const Entry& at(int64_t index) const {
    require(index >= 0 && index < size(), name(), ": image ", index, " of ", size());
    return entries_[static_cast<size_t>(index)];
  }

  const std::string path_;
  const std::unique_ptr<const MappedFile> file_;
  const PictureGeometry geometry_;
  const std::vector<Entry> entries_;
};

struct Table {
  Header header;
  std::vector<std::string> class_names;
  std::vector<Entry> entries;
};

// Every number is checked before anything is sized by it.
Table read_table(const std::string& path, std::span<const std::byte> file) {
  const auto damaged = [&](const auto&... why) {
    fail(ErrorCategory::damaged_data, path, ": damaged picture index: ", why...,
         "; make it again with apotnet data index");
  };
  Table table;
  Header& header = table.header;
  if (file.size() < sizeof header) damaged("cut off in the header");
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, Header{}.magic, sizeof header.magic) != 0) damaged("it does not begin with APOTPIX1");
  const auto rest = file.subspan(sizeof header);
  if (header.classes < 1 || header.classes > kMostClasses || header.name_bytes > kMostNameBytes ||
      header.name_bytes % 8 != 0 || header.resized < 1 || header.resized > kMostImageSide || header.pictures < 1)
    damaged("numbers of the header are out of bounds");
  if (rest.size() < header.name_bytes || (rest.size() - header.name_bytes) / sizeof(Entry) < header.pictures)
    damaged("cut off in the table of pictures");
  const auto names = rest.first(header.name_bytes);
  const auto entries = rest.subspan(names.size(), header.pictures * sizeof(Entry));
  if (crc32c(rest.first(names.size() + entries.size())) != header.checksum) damaged("the table has a wrong checksum");

  std::string_view remaining(reinterpret_cast<const char*>(names.data()), names.size());
  for (size_t end; (end = remaining.find('\n')) != std::string_view::npos; remaining.remove_prefix(end + 1))
    table.class_names.emplace_back(remaining.substr(0, end));
  if (table.class_names.size() != header.classes)
    damaged(table.class_names.size(), " class names for ", header.classes);
  table.entries.resize(header.pictures);
  std::memcpy(table.entries.data(), entries.data(), entries.size());
  for (const Entry& entry : table.entries)
    if (entry.label >= header.classes || std::min(entry.height, entry.width) != header.resized ||
        entry.begin > file.size() || entry.bytes() > file.size() - entry.begin)
      damaged("picture ", &entry - table.entries.data(), " is out of bounds or cut off");
  return table;
}

}  // namespace

void write_picture_index(const fs::path& file, const PictureFolder& folder, int resized,
                         const std::function<void(int64_t done)>& progress) {
  const std::string names = joined_names(folder.class_names());
  std::vector<Entry> entries(static_cast<size_t>(folder.size()));
  FileInMaking out(file.string());
  uint64_t end = sizeof(Header) + names.size() + entries.size() * sizeof(Entry);
  std::vector<Image> group;
  for (int64_t first = 0; first < folder.size(); first += kGroup) {
    group.assign(static_cast<size_t>(std::min(kGroup, folder.size() - first)), {});
    parallel_for(static_cast<int64_t>(group.size()), [&](int64_t i) {
      const Image picture = folder.picture(first + i);
      const auto size = size_with_shorter_side({picture.height, picture.width}, resized);
      if (std::max(size.height, size.width) > UINT16_MAX)
        fail(ErrorCategory::damaged_data, "picture ", first + i, " is ", size.width, " x ", size.height,
             " pixels when resized; at most ", UINT16_MAX, " fit");
      group[static_cast<size_t>(i)] = resize_bilinear(picture, size);
    });
    for (size_t i = 0; i < group.size(); ++i) {
      const Image& image = group[i];
      entries[static_cast<size_t>(first) + i] = {.begin = end,
                                                 .height = static_cast<uint16_t>(image.height),
                                                 .width = static_cast<uint16_t>(image.width),
                                                 .label = static_cast<uint32_t>(folder.label(first + int64_t(i))),
                                                 .checksum = crc32c(bytes_of(image))};
      out.write(bytes_of(image), end);
      end += image.pixels.size();
    }
    if (progress) progress(first + static_cast<int64_t>(group.size()));
  }

  std::vector<std::byte> table(names.size() + entries.size() * sizeof(Entry));
  std::memcpy(table.data(), names.data(), names.size());
  std::memcpy(table.data() + names.size(), entries.data(), entries.size() * sizeof(Entry));
  const Header header{.resized = static_cast<uint64_t>(resized),
                      .classes = folder.class_names().size(),
                      .pictures = entries.size(),
                      .name_bytes = names.size(),
                      .checksum = crc32c(table)};
  out.write(table, sizeof header);
  out.write(std::as_bytes(std::span(&header, 1)), 0);
  out.finish();
}

int resized_side_of(const fs::path& file) {
  return static_cast<int>(read_table(file.string(), MappedFile(file).bytes()).header.resized);
}

std::shared_ptr<const Dataset> open_picture_index(const fs::path& path, DatasetInfo info,
                                                  const PictureGeometry& geometry) {
  check_geometry(geometry);
  auto file = std::make_unique<const MappedFile>(path);
  Table table = read_table(path.string(), file->bytes());
  if (table.header.resized != static_cast<uint64_t>(geometry.resized))
    fail(ErrorCategory::configuration, path.string(), ": holds pictures resized to ", table.header.resized,
         ", data.resized_side is ", geometry.resized, "; make it again with apotnet data index, or change the setting");
  info.class_names = std::move(table.class_names);
  info.height = info.width = geometry.size;
  info.resized_side = geometry.resized;
  return std::make_shared<PictureIndex>(std::move(info), path, std::move(file), geometry, std::move(table.entries));
}

}  // namespace apotnet
