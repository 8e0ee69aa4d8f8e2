#include "core/io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "core/base/error.h"

namespace apotnet {
namespace {

// Where the process stands in writing a file, see kWritePoints.
void reach(std::string_view point) {
  static const char* const wanted = std::getenv("APOTNET_CRASH_AT");
  if (!wanted) return;
  static int left = [] {
    const char* colon = std::strchr(wanted, ':');
    return colon ? std::atoi(colon + 1) : 1;
  }();
  const std::string_view name(wanted, std::strcspn(wanted, ":"));
  if (name == point && --left == 0) std::raise(SIGKILL);
}

// Closes a file descriptor at the end of its scope.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }
  /// Closes now and says whether all went well: some file systems report a full disk only here.
  bool close() { return ::close(std::exchange(number_, -1)) == 0; }

 private:
  int number_;
};

std::string parent_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

[[noreturn]] void cannot_write(const std::string& path, const std::string& temporary) {
  const std::string why = std::strerror(errno);
  ::unlink(temporary.c_str());
  fail(ErrorCategory::cannot_write, path, ": cannot write: ", why);
}

// Writes everything, at the end or at a place; false, with the reason in errno, when something does not fit.
bool write_all(int descriptor, std::span<const std::byte> bytes, std::optional<uint64_t> at = {}) {
  while (!bytes.empty()) {
    const ssize_t count = at ? ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(*at))
                             : ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno != EINTR) return false;
    if (count <= 0) continue;
    bytes = bytes.subspan(static_cast<size_t>(count));
    if (at) *at += static_cast<uint64_t>(count);
  }
  return true;
}

// Makes new names last. Some file systems cannot flush a folder, and need not.
void flush_folder_of(const std::string& path) {
  const Descriptor folder(::open(parent_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number() >= 0) ::fsync(folder.number());
}

void rename_into_place(const std::string& path, const std::string& temporary) {
  if (::rename(temporary.c_str(), path.c_str()) != 0) cannot_write(path, temporary);
  reach("renamed");
  flush_folder_of(path);
  reach("folder-flushed");
}

// A pipe or device, itself or behind symbolic links.
bool is_stream(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode);
}

void write_stream(const std::string& path, const Chunks& chunks) {
  // A reader that goes away is an error of write() here, not the end of the program.
  using Action = struct sigaction;  // the function has the same name
  Action ignore{}, former{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &former);
  Descriptor stream(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  bool written = stream.number() >= 0;
  for (size_t i = 0; written && i < chunks.size(); ++i) written = write_all(stream.number(), chunks[i]);
  written = written && stream.close();
  const int why = errno;
  ::sigaction(SIGPIPE, &former, nullptr);
  if (!written) fail(ErrorCategory::cannot_write, path, ": cannot write: ", std::strerror(why));
}

bool is_stdout(const std::string& path) {
  using Status = struct stat;
  Status file{}, out{};
  return ::stat(path.c_str(), &file) == 0 && ::fstat(STDOUT_FILENO, &out) == 0 && file.st_dev == out.st_dev &&
         file.st_ino == out.st_ino;
}

}  // namespace

std::string temporary_name(const std::string& path) { return text(path, ".tmp.", ::getpid()); }

std::string_view written_as(std::string_view temporary_name) {
  constexpr std::string_view kMark = ".tmp.";
  const size_t at = temporary_name.rfind(kMark);
  const bool is_one = at != temporary_name.npos && at + kMark.size() < temporary_name.size() &&
                      temporary_name.find_first_not_of("0123456789", at + kMark.size()) == temporary_name.npos;
  return temporary_name.substr(0, is_one ? at : 0);
}

std::vector<std::byte> read_file(const std::string& path, size_t most_bytes) {
  if (path.empty()) fail(ErrorCategory::input_missing, "the name of a file to read is empty");
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number() < 0) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    fail(ErrorCategory::input_missing, path, ": cannot open: ", std::strerror(errno),
         missing ? "; check its name and folder" : "; check its permissions");
  }
  struct stat status {};
  if (::fstat(file.number(), &status) != 0 || !S_ISREG(status.st_mode))
    fail(ErrorCategory::damaged_data, path, ": is a folder or device, not a file");
  if (static_cast<uintmax_t>(status.st_size) > most_bytes)
    fail(ErrorCategory::damaged_data, path, ": has ", status.st_size, " bytes; more than ", most_bytes,
         " are not taken");
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::read(file.number(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ErrorCategory::damaged_data, path, ": cannot read: ", std::strerror(errno));
    if (count == 0) fail(ErrorCategory::damaged_data, path, ": got shorter while it was read");
    done += static_cast<size_t>(count);
  }
  std::byte more;
  if (::read(file.number(), &more, 1) == 1) fail(ErrorCategory::damaged_data, path, ": got longer while it was read");
  return bytes;
}

std::string replaceable_file(const std::string& path) {
  namespace fs = std::filesystem;
  const auto refuse = [&](const std::string& why) { fail(ErrorCategory::cannot_write, path, ": cannot write: ", why); };
  constexpr int kMostLinks = 40;  // as the system follows
  fs::path target = path;
  std::error_code error;
  for (int links = 0; fs::is_symlink(fs::symlink_status(target, error)); ++links) {
    if (links == kMostLinks) refuse(std::strerror(ELOOP));
    target = target.parent_path() / fs::read_symlink(target, error);  // an absolute one stands for itself
    if (error) refuse(error.message());
  }
  const fs::file_status status = fs::status(target, error);
  if (fs::is_directory(status)) refuse(std::strerror(EISDIR));
  if (fs::exists(status) && !fs::is_regular_file(status)) refuse("it is a pipe or device, not a file");
  if (is_stdout(target.string())) refuse("the output goes there; name another file");
  return target.string();
}

FileInMaking::FileInMaking(const std::string& path) : path_(replaceable_file(path)), temporary_(temporary_name(path_)) {
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) cannot_write(path_, temporary_);
  reach("temporary-open");
}

FileInMaking::~FileInMaking() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void FileInMaking::write(std::span<const std::byte> bytes, uint64_t at) {
  if (!write_all(descriptor_, bytes, at)) cannot_write(path_, temporary_);
}

void FileInMaking::write(const Chunks& chunks) {
  for (size_t i = 0; i < chunks.size(); ++i) {
    if (i == chunks.size() / 2) reach("temporary-half");
    if (!write_all(descriptor_, chunks[i])) cannot_write(path_, temporary_);
  }
}

void FileInMaking::flush() {
  if (descriptor_ < 0) return;
  reach("temporary-written");
  // Some file systems report a full disk only where the file is closed.
  const bool flushed = ::fsync(descriptor_) == 0;
  if (!flushed || ::close(std::exchange(descriptor_, -1)) != 0) cannot_write(path_, temporary_);
  reach("temporary-flushed");
}

void FileInMaking::finish() {
  flush();
  rename_into_place(path_, std::exchange(temporary_, ""));
}

void write_file_atomically(const std::string& path, const Chunks& chunks) {
  if (is_stream(path)) return write_stream(path, chunks);
  FileInMaking file(path);
  file.write(chunks);
  file.finish();
}

void replace_keeping_former(const std::string& path, const std::string& former_path, const Chunks& chunks) {
  FileInMaking file(path);
  file.write(chunks);
  file.flush();
  if (::access(file.path().c_str(), F_OK) == 0) keep_under_name(file.path(), former_path);
  file.finish();
}

void keep_under_name(const std::string& path, const std::string& name) {
  // A second name for the file itself, not for a symbolic link to it, is moved into place in one step.
  const std::string link = temporary_name(name);
  ::unlink(link.c_str());
  if (::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, link.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    const std::vector<std::byte> content = read_file(path);
    return write_file_atomically(name, {content});
  }
  reach("former-linked");
  if (::rename(link.c_str(), name.c_str()) != 0) cannot_write(name, link);
  ::unlink(link.c_str());  // still there when both names were one file already, after a crash between two renames
  reach("former-moved");
  flush_folder_of(name);
}

void append_to_file(const std::string& path, std::span<const std::byte> bytes) {
  const auto refuse = [&](int why) { fail(ErrorCategory::cannot_write, path, ": cannot write: ", std::strerror(why)); };
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (file.number() < 0) refuse(errno);
  const off_t size = ::lseek(file.number(), 0, SEEK_END);
  if (!write_all(file.number(), bytes) || ::fsync(file.number()) != 0) {
    const int why = errno;
    if (size >= 0 && ::ftruncate(file.number(), size) != 0) refuse(errno);
    refuse(why);
  }
  if (!file.close()) refuse(errno);
}

}  // namespace apotnet
