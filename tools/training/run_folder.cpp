#include "tools/training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

#include "core/base/error.h"

namespace apotnet {
namespace fs = std::filesystem;
namespace {

// A folder that cannot be looked into is found out when it is written to.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

fs::path numbered(const std::string& config_path, int number) {
  const fs::path base = fs::path("runs") / fs::path(config_path).stem();
  return number == 1 ? base : fs::path(base.string() + "-" + std::to_string(number));
}

// The first number whose folder is not there yet.
int first_free(const std::string& config_path) {
  int number = 1;
  while (is_there(numbered(config_path, number))) ++number;
  return number;
}

// NAME.tmp.<pid>, as core/io/atomic_file.h writes it.
bool is_temporary(const fs::path& path) {
  const std::string name = path.filename().string();
  const size_t at = name.rfind(".tmp.");
  return at != std::string::npos && std::all_of(name.begin() + static_cast<std::ptrdiff_t>(at) + 5, name.end(),
                                                [](unsigned char c) { return std::isdigit(c); });
}

void remove_temporary_files(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (is_temporary(entry.path())) fs::remove(entry.path(), ignored);
}

// Waits for a moment: a process that was just killed holds its lock until it is gone. File systems without locks go
// without.
bool take_lock(int folder) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::flock(folder, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
  return false;
}

}  // namespace

fs::path new_run_folder(const std::string& wanted, const std::string& config_path) {
  if (wanted.empty()) return numbered(config_path, first_free(config_path));
  if (is_there(fs::path(wanted) / "config.json"))
    fail(ErrorCategory::usage, wanted, ": holds a run already; continue it with --resume, or name another with --out");
  return wanted;
}

fs::path former_run_folder(const std::string& wanted, const std::string& config_path) {
  return wanted.empty() ? numbered(config_path, std::max(1, first_free(config_path) - 1)) : fs::path(wanted);
}

RunFolder::RunFolder(fs::path path) : path_(std::move(path)) {
  std::error_code error;
  fs::create_directories(path_ / "checkpoints", error);
  if (error) fail(ErrorCategory::cannot_write, path_.string(), ": cannot create the run folder: ", error.message());
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ >= 0 && !take_lock(lock_)) {
    ::close(lock_);
    fail(ErrorCategory::usage, path_.string(), ": another process trains there; wait for its end or stop it first");
  }
  remove_temporary_files(path_);
  remove_temporary_files(path_ / "checkpoints");
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

std::string RunFolder::checkpoint(const std::string& name) const {
  return (path_ / "checkpoints" / (name + ".safetensors")).string();
}

}  // namespace apotnet
