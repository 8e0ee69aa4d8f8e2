#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

#include "core/base/error.h"
#include "core/io/atomic_file.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostBytes = int64_t{4} << 30;
constexpr int64_t kMostFileBytes = int64_t{1} << 30;
constexpr int kMostEntries = 10'000;

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

Reader open_archive(const std::string& path) {
  Reader reader(archive_read_new(), archive_read_free);
  require(reader != nullptr, "libarchive cannot be started");
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open_filename(reader.get(), path.c_str(), 1 << 16) != ARCHIVE_OK)
    fail(ErrorCategory::damaged_data, path, ": no .tar.gz archive: ", archive_error_string(reader.get()));
  return reader;
}

// The name of an entry, which must stay below the folder that is unpacked to.
fs::path safe_name(const std::string& path, archive_entry* entry) {
  const char* name = archive_entry_pathname(entry);
  const fs::path relative = name ? fs::path(name).lexically_normal() : fs::path();
  if (relative.empty() || relative.is_absolute() || *relative.begin() == "..")
    fail(ErrorCategory::damaged_data, path, ": holds a file named ", name ? name : "nothing",
         ", outside of its folder");
  return relative;
}

std::vector<std::byte> read_entry(const std::string& path, archive* reader, archive_entry* entry, int64_t left) {
  const int64_t size = archive_entry_size(entry);
  if (size < 0 || size > std::min(left, kMostFileBytes))
    fail(ErrorCategory::damaged_data, path, ": ", archive_entry_pathname(entry), " would have ", size, " bytes");
  std::vector<std::byte> content;
  // In steps: a header may promise more than there is.
  while (static_cast<int64_t>(content.size()) < size) {
    const size_t before = content.size();
    content.resize(before + static_cast<size_t>(std::min<int64_t>(size - static_cast<int64_t>(before), 1 << 20)));
    const la_ssize_t got = archive_read_data(reader, content.data() + before, content.size() - before);
    if (got <= 0)
      fail(ErrorCategory::damaged_data, path, ": ", archive_entry_pathname(entry), ": ",
           got < 0 ? archive_error_string(reader) : "is cut off");
    content.resize(before + static_cast<size_t>(got));
  }
  return content;
}

void make_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) fail(ErrorCategory::cannot_write, folder.string(), ": ", failure.message());
}

void unpack_all(const std::string& path, const fs::path& to) {
  const Reader reader = open_archive(path);
  archive_entry* entry = nullptr;
  int64_t left = kMostBytes;
  int entries = 0;
  for (int status; (status = archive_read_next_header(reader.get(), &entry)) != ARCHIVE_EOF;) {
    if (status != ARCHIVE_OK)
      fail(ErrorCategory::damaged_data, path, ": damaged archive: ", archive_error_string(reader.get()));
    if (++entries > kMostEntries) fail(ErrorCategory::damaged_data, path, ": more than ", kMostEntries, " files");
    const fs::path target = to / safe_name(path, entry);
    const auto kind = archive_entry_filetype(entry);
    if (kind == AE_IFDIR) {
      make_folder(target);
    } else if (kind == AE_IFREG && !archive_entry_hardlink(entry)) {
      const std::vector<std::byte> content = read_entry(path, reader.get(), entry, left);
      left -= static_cast<int64_t>(content.size());
      make_folder(target.parent_path());
      write_file_atomically(target.string(), {content});
    } else {
      fail(ErrorCategory::damaged_data, path, ": ", archive_entry_pathname(entry), " is neither a file nor a folder");
    }
  }
}

// A folder that goes away with the object.
struct Scratch {
  fs::path path;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

}  // namespace

void unpack_folder(const std::string& archive, const std::string& name, const std::string& to) {
  const Scratch scratch{fs::path(to) / temporary_name("." + name)};
  make_folder(scratch.path);
  unpack_all(archive, scratch.path);
  std::error_code failure;
  if (!fs::is_directory(scratch.path / name, failure))
    fail(ErrorCategory::damaged_data, archive, ": holds no folder ", name);
  fs::rename(scratch.path / name, fs::path(to) / name, failure);
  if (failure) fail(ErrorCategory::cannot_write, (fs::path(to) / name).string(), ": ", failure.message());
}

std::string archive_library_version() {
  const int version = archive_version_number();  // 3006002
  return text(version / 1'000'000, ".", version / 1000 % 1000, ".", version % 1000);
}

}  // namespace apotnet
