#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace apotnet {

/// Pieces of a file in order.
using Chunks = std::vector<std::span<const std::byte>>;

/// The whole file. Error(input_missing) when there is none or it may not be read, Error(damaged_data) when it is a
/// folder, has more than `most_bytes`, cannot be read or changes its size meanwhile.
std::vector<std::byte> read_file(const std::string& path, size_t most_bytes = SIZE_MAX);

/// PATH.tmp.<pid>, under which this process writes what is to become `path`.
std::string temporary_name(const std::string& path);
/// What some process was to write under this temporary_name(); empty for a name that is none.
std::string_view written_as(std::string_view temporary_name);

/// A file that takes its place when it is whole: written as temporary_name(), flushed to the disk, renamed over `path`,
/// and the folder flushed. A crash at any moment leaves the former file or the new one, never half of one.
/// Error(cannot_write); what was not finished is removed. Symbolic links stay, what they lead to is replaced.
class FileInMaking {
 public:
  explicit FileInMaking(const std::string& path);
  ~FileInMaking();
  FileInMaking(const FileInMaking&) = delete;
  FileInMaking& operator=(const FileInMaking&) = delete;

  /// What will be replaced, behind symbolic links.
  const std::string& path() const { return path_; }
  void write(std::span<const std::byte> bytes, uint64_t at);
  void write(const Chunks& chunks);
  /// Nothing can be written any more.
  void flush();
  /// Flushes and takes the place.
  void finish();

 private:
  std::string path_, temporary_;
  int descriptor_ = -1;
};

/// FileInMaking of these pieces; a pipe or device is written to as it is.
void write_file_atomically(const std::string& path, const Chunks& chunks);

/// What a file written to `path` replaces: the end of the symbolic links there. Error(cannot_write) when a folder,
/// pipe, device or the output of this program is in the place.
std::string replaceable_file(const std::string& path);

/// write_file_atomically(), and what stood at `path` is kept as `former_path`. At every moment `path` holds a whole
/// file if it did before, and so does `former_path`.
void replace_keeping_former(const std::string& path, const std::string& former_path, const Chunks& chunks);

/// Gives the file at `path`, at the end of its symbolic links, the second name `name`, which stands for whatever it
/// held before or for this file at every moment; a copy in another file system or one without links.
/// Error(cannot_write).
void keep_under_name(const std::string& path, const std::string& name);

/// Adds to the end of the file, which is made when there is none, and flushes it to the disk. What did not fit is taken
/// back, so that no half of an addition is left. Error(cannot_write).
void append_to_file(const std::string& path, std::span<const std::byte> bytes);

/// The moments of writing a file at which a crash differs in what it leaves behind. For tests of that, the environment
/// variable APOTNET_CRASH_AT=POINT[:N] kills the process (SIGKILL) when it gets to POINT for the N-th time.
inline constexpr std::array kWritePoints{"temporary-open", "temporary-half", "temporary-written", "temporary-flushed",
                                         "former-linked",  "former-moved",   "renamed",           "folder-flushed"};

}  // namespace apotnet
