#include "tools/training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <iterator>
#include <string_view>
#include <system_error>
#include <thread>

#include "core/base/error.h"
#include "core/io/atomic_file.h"

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

// The largest number of a folder that is there, 0 where none is.
int newest_number(const std::string& config_path) {
  const std::string first = numbered(config_path, 1).filename().string();
  int newest = 0;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("runs", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name == first) newest = std::max(newest, 1);
    if (!name.starts_with(first + "-")) continue;
    int number = 0;
    const char *begin = name.data() + first.size() + 1, *end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(begin, end, number);
    // As numbered() writes it, so that "resnet20-4bit-2" is none of "resnet20".
    if (error == std::errc() && rest == end && number > 1 && *begin != '0') newest = std::max(newest, number);
  }
  return newest;
}

bool is_file_of_run(std::string_view name) {
  constexpr std::string_view kNames[] = {"config.json",   "environment.json", "engines.json", "metrics.csv",
                                         "metrics.jsonl", "report.html",      "status.json"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

// last, last.prev and best, also of a stage that was kept.
bool is_checkpoint_of_run(std::string_view name) {
  return std::ranges::any_of(std::array{"last", "last.prev", "best"}, [&](const std::string& kind) {
    const std::string file = kind + ".safetensors";
    return name == file || name.ends_with("." + file);
  });
}

// What a process that was killed was writing. Whatever else lies in the folder is not the run's.
void remove_leftovers(const fs::path& folder, bool (*is_ours)(std::string_view)) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (is_ours(written_as(name))) fs::remove(entry.path(), ignored);
  }
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
  if (wanted.empty()) return numbered(config_path, newest_number(config_path) + 1);
  if (is_there(fs::path(wanted) / "config.json") || holds_checkpoints(wanted))
    fail(ErrorCategory::usage, wanted, ": holds a run already; continue it with --resume, or name another with --out");
  return wanted;
}

fs::path former_run_folder(const std::string& wanted, const std::string& config_path) {
  return wanted.empty() ? numbered(config_path, std::max(1, newest_number(config_path))) : fs::path(wanted);
}

bool holds_checkpoints(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder / "checkpoints", ignored))
    if (entry.path().extension() == ".safetensors") return true;
  return false;
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
  remove_leftovers(path_, is_file_of_run);
  remove_leftovers(checkpoints(), is_checkpoint_of_run);
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

std::string RunFolder::checkpoint(const std::string& name) const {
  return (path_ / "checkpoints" / (name + ".safetensors")).string();
}

}  // namespace apotnet
