#include "core/io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/base/error.h"

namespace apotnet {
namespace {

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

// Writes and flushes `temporary`; nothing of it is left when that fails.
void write_temporary(const std::string& path, const std::string& temporary, std::span<const std::byte> bytes) {
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.number() < 0) cannot_write(path, temporary);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::write(file.number(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno != EINTR) cannot_write(path, temporary);
    if (count > 0) done += static_cast<size_t>(count);
  }
  if (::fsync(file.number()) != 0 || !file.close()) cannot_write(path, temporary);
}

void rename_into_place(const std::string& path, const std::string& temporary) {
  if (::rename(temporary.c_str(), path.c_str()) != 0) cannot_write(path, temporary);
  const Descriptor folder(::open(parent_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number() >= 0)
    ::fsync(folder.number());  // makes the new name last; some file systems cannot, and need not
}

std::string temporary_name(const std::string& path) { return text(path, ".tmp.", ::getpid()); }

}  // namespace

std::vector<std::byte> read_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.number() < 0)
    fail(errno == ENOENT || errno == ENOTDIR ? ErrorCategory::input_missing : ErrorCategory::damaged_data, path,
         ": cannot open: ", std::strerror(errno));
  struct stat status {};
  if (::fstat(file.number(), &status) != 0 || !S_ISREG(status.st_mode))
    fail(ErrorCategory::damaged_data, path, ": is not a file");
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::read(file.number(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      fail(ErrorCategory::damaged_data, path,
           ": cannot read: ", count < 0 ? std::strerror(errno) : "the file got shorter");
    done += static_cast<size_t>(count);
  }
  return bytes;
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  const std::string temporary = temporary_name(path);
  write_temporary(path, temporary, bytes);
  rename_into_place(path, temporary);
}

void write_file_keeping_former(const std::string& path, const std::string& former, std::span<const std::byte> bytes) {
  const std::string temporary = temporary_name(path), link = temporary_name(former);
  write_temporary(path, temporary, bytes);
  // A second name for the present file, moved to `former` in one step: `path` itself is never missing.
  ::unlink(link.c_str());
  if (::link(path.c_str(), link.c_str()) == 0) {
    if (::rename(link.c_str(), former.c_str()) != 0) {
      ::unlink(link.c_str());
      cannot_write(former, temporary);
    }
  } else if (errno != ENOENT) {
    cannot_write(former, temporary);
  }
  rename_into_place(path, temporary);
}

}  // namespace apotnet
