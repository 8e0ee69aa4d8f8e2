#include "core/io/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <list>

#include "core/base/error.h"
#include "core/io/printable.h"

namespace apotnet {
namespace {

constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50,
                   kCentralSignature = 0x02014b50, kLocalSignature = 0x04034b50, kDescriptorSignature = 0x08074b50;
constexpr size_t kEndBytes = 22, kLocator64Bytes = 20, kEnd64Bytes = 56, kCentralBytes = 46, kLocalBytes = 30;
constexpr uint16_t kEncrypted = 1, kHasDescriptor = 8, kZip64Extra = 1;

struct Directory {
  uint64_t entries, bytes, offset;
  uint64_t end;  // where the end record starts
};

struct Entry {
  std::string name;
  uint64_t header = 0, size = 0, data = 0, end = 0;  // end: behind the content and its descriptor
  uint16_t flags = 0;
  uint32_t crc = 0;
};

// Reads numbers of a file whose positions were not checked yet.
class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& path) : file_(file), path_(path) {}

  template <typename... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(ErrorCategory::damaged_data, path_, ": ", parts...);
  }
  std::span<const std::byte> part(uint64_t position, uint64_t count, const char* what) const {
    if (position > file_.size() || count > file_.size() - position) damaged("the zip archive's ", what, " is cut off");
    return file_.subspan(position, count);
  }
  template <typename Integer>
  Integer number(uint64_t position, const char* what) const {
    Integer value;
    std::memcpy(&value, part(position, sizeof value, what).data(), sizeof value);
    return value;
  }
  size_t size() const { return file_.size(); }

 private:
  std::span<const std::byte> file_;
  const std::string& path_;
};

Directory read_zip64_end(const Reader& file, const Directory& narrow, uint64_t locator) {
  const auto record = file.number<uint64_t>(locator + 8, "zip64 locator");
  file.part(record, kEnd64Bytes, "zip64 end");
  if (record + kEnd64Bytes != locator || file.number<uint32_t>(record, "zip64 end") != kEnd64Signature)
    file.damaged("the zip archive's zip64 end is not where its locator says");
  const Directory wide{file.number<uint64_t>(record + 32, "zip64 end"), file.number<uint64_t>(record + 40, "zip64 end"),
                       file.number<uint64_t>(record + 48, "zip64 end"), record};
  const auto agrees = [](uint64_t value, uint64_t full, uint64_t unknown) { return value == unknown || value == full; };
  if (!agrees(narrow.entries, wide.entries, 0xFFFF) || !agrees(narrow.bytes, wide.bytes, 0xFFFFFFFF) ||
      !agrees(narrow.offset, wide.offset, 0xFFFFFFFF))
    file.damaged("the zip archive's two end records disagree");
  return wide;
}

// The end record is the last thing of the file; PyTorch adds no comment behind it.
Directory read_end(const Reader& file) {
  const uint64_t end = file.size() - std::min<size_t>(file.size(), kEndBytes);
  if (file.size() < kEndBytes || file.number<uint32_t>(end, "end") != kEndSignature ||
      file.number<uint16_t>(end + 20, "end") != 0)
    file.damaged("is a zip archive that does not end with its end record; the file is cut off or was added to");
  Directory directory{file.number<uint16_t>(end + 10, "end"), file.number<uint32_t>(end + 12, "end"),
                      file.number<uint32_t>(end + 16, "end"), end};
  if (end >= kLocator64Bytes && file.number<uint32_t>(end - kLocator64Bytes, "locator") == kLocator64Signature)
    directory = read_zip64_end(file, directory, end - kLocator64Bytes);
  if (directory.offset > directory.end || directory.bytes != directory.end - directory.offset)
    file.damaged("the zip archive's directory is not where its end says");
  if (directory.entries > directory.bytes / kCentralBytes)
    file.damaged("the zip archive claims more entries than it has");
  return directory;
}

// Fields that do not fit 32 bits stand in the zip64 extra field, in a fixed order.
void read_zip64_extra(const Reader& file, uint64_t position, uint64_t count, Entry& entry, uint64_t& stored) {
  for (const uint64_t end = position + count; position + 4 <= end;) {
    const auto id = file.number<uint16_t>(position, "extra field");
    const auto bytes = file.number<uint16_t>(position + 2, "extra field");
    uint64_t field = position + 4;
    position = field + bytes;
    if (id != kZip64Extra) continue;
    for (uint64_t* value : {&entry.size, &stored, &entry.header})
      if (*value == 0xFFFFFFFF && field + 8 <= position) {
        *value = file.number<uint64_t>(field, "extra field");
        field += 8;
      }
  }
}

std::list<Entry> read_directory(const Reader& file, const Directory& directory) {
  std::list<Entry> entries;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (file.number<uint32_t>(at, "directory") != kCentralSignature)
      file.damaged("the zip archive's directory is damaged");
    Entry entry;
    entry.flags = file.number<uint16_t>(at + 8, "directory");
    entry.crc = file.number<uint32_t>(at + 16, "directory");
    const auto method = file.number<uint16_t>(at + 10, "directory");
    uint64_t stored = file.number<uint32_t>(at + 20, "directory");
    entry.size = file.number<uint32_t>(at + 24, "directory");
    const auto name_bytes = file.number<uint16_t>(at + 28, "directory"),
               extra = file.number<uint16_t>(at + 30, "directory"),
               comment = file.number<uint16_t>(at + 32, "directory");
    entry.header = file.number<uint32_t>(at + 42, "directory");
    const auto name = file.part(at + kCentralBytes, name_bytes, "directory");
    entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    read_zip64_extra(file, at + kCentralBytes + name_bytes, extra, entry, stored);
    if (entry.flags & kEncrypted) file.damaged("zip entry ", printable(entry.name), " is encrypted");
    if (method != 0 || stored != entry.size)
      file.damaged("zip entry ", printable(entry.name), " is compressed; PyTorch stores checkpoints uncompressed");
    at += kCentralBytes + name_bytes + extra + comment;
    entries.push_back(std::move(entry));
  }
  if (at != directory.offset + directory.bytes)
    file.damaged("the zip archive's directory has bytes that belong to no entry");
  return entries;
}

void check_local_header(const Reader& file, Entry& entry) {
  if (file.number<uint32_t>(entry.header, "entry") != kLocalSignature)
    file.damaged("zip entry ", printable(entry.name), " is not where the directory says");
  const auto name_bytes = file.number<uint16_t>(entry.header + 26, "entry"),
             extra = file.number<uint16_t>(entry.header + 28, "entry");
  const auto name = file.part(entry.header + kLocalBytes, name_bytes, "entry");
  if (std::string_view(reinterpret_cast<const char*>(name.data()), name.size()) != entry.name)
    file.damaged("zip entry ", printable(entry.name), " has another name in its own header");
  if (file.number<uint16_t>(entry.header + 8, "entry") != 0)
    file.damaged("zip entry ", printable(entry.name), " is compressed");
  entry.data = entry.header + kLocalBytes + name_bytes + extra;
  const auto content = file.part(entry.data, entry.size, "entry");
  const auto crc = crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size());
  if (crc != entry.crc)
    file.damaged("zip entry ", printable(entry.name), " does not match its CRC-32; the file is damaged");
  entry.end = entry.data + entry.size;
}

// Behind the content may stand a descriptor: [signature] crc, compressed size, size; the sizes of 4 or 8 bytes.
void skip_descriptor(const Reader& file, Entry& entry, uint64_t next) {
  if (!(entry.flags & kHasDescriptor)) return;
  for (const uint64_t signature : {4, 0})
    for (const uint64_t width : {4, 8}) {
      const uint64_t bytes = signature + 4 + 2 * width;
      if (next - entry.end != bytes) continue;
      const uint64_t crc_at = entry.end + signature;
      const auto size_at = [&](uint64_t position) {
        return width == 4 ? file.number<uint32_t>(position, "descriptor")
                          : file.number<uint64_t>(position, "descriptor");
      };
      if ((signature && file.number<uint32_t>(entry.end, "descriptor") != kDescriptorSignature) ||
          file.number<uint32_t>(crc_at, "descriptor") != entry.crc || size_at(crc_at + 4) != entry.size ||
          size_at(crc_at + 4 + width) != entry.size)
        file.damaged("zip entry ", printable(entry.name), " has a descriptor that disagrees with the directory");
      entry.end = next;
      return;
    }
}

}  // namespace

std::map<std::string, std::span<const std::byte>> read_stored_zip(std::span<const std::byte> bytes,
                                                                  const std::string& path) {
  const Reader file(bytes, path);
  const Directory directory = read_end(file);
  std::list<Entry> entries = read_directory(file, directory);
  entries.sort([](const Entry& a, const Entry& b) { return a.header < b.header; });
  std::map<std::string, std::span<const std::byte>> result;
  uint64_t covered = 0;
  for (auto at = entries.begin(); at != entries.end(); ++at) {
    Entry& entry = *at;
    if (entry.header < covered) file.damaged("zip entry ", printable(entry.name), " overlaps another");
    if (entry.header > covered)
      file.damaged(entry.header - covered, " bytes before zip entry ", printable(entry.name), " belong to nothing");
    check_local_header(file, entry);
    const uint64_t next = std::next(at) != entries.end() ? std::next(at)->header : directory.offset;
    if (next >= entry.end) skip_descriptor(file, entry, next);
    covered = entry.end;
    if (!result.emplace(entry.name, bytes.subspan(entry.data, entry.size)).second)
      file.damaged("zip entry ", printable(entry.name), " stands twice in the archive");
  }
  if (covered != directory.offset) file.damaged("the zip archive's entries and its directory do not meet");
  return result;
}

}  // namespace apotnet
