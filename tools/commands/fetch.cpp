#include "tools/commands/fetch.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>

#include "core/base/error.h"
#include "data/archive.h"
#include "data/download.h"
#include "data/registry.h"
#include "tools/fixed.h"
#include "tools/terminal.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double kMiB = 1 << 20;

// "file: 12.3 of 162.1 MiB, 4.5 MiB/s, left 0:33", redrawn on a terminal, a line every ten seconds elsewhere.
class DownloadLine {
 public:
  DownloadLine(std::string file, const GlobalOptions& options)
      : file_(std::move(file)), quiet_(options.quiet), terminal_(stderr_terminal(options.color)) {}
  ~DownloadLine() {
    if (drawn_ && terminal_.interactive) std::cerr << std::endl;
  }
  DownloadLine(const DownloadLine&) = delete;
  DownloadLine& operator=(const DownloadLine&) = delete;

  void update(int64_t done, int64_t all) {
    const auto now = Clock::now();
    if (begin_ < 0) begin_ = done, start_ = last_ = now;
    const std::chrono::duration<double> since_last = now - last_, since_start = now - start_;
    if (quiet_ || since_last.count() < (terminal_.interactive ? 0.2 : 10)) return;
    last_ = now;
    const double rate = static_cast<double>(done - begin_) / since_start.count();
    std::string line = file_ + ": " + fixed(static_cast<double>(done) / kMiB, 1);
    if (all > 0) line += " of " + fixed(static_cast<double>(all) / kMiB, 1);
    line += " MiB, " + fixed(rate / kMiB, 1) + " MiB/s";
    if (all > 0 && rate > 0) line += ", left " + duration(static_cast<double>(all - done) / rate);
    drawn_ = true;
    if (terminal_.interactive)
      std::cerr << "\r\033[K" << line.substr(0, static_cast<size_t>(std::max(1, terminal_.columns - 1))) << std::flush;
    else
      std::cerr << line << std::endl;
  }

 private:
  std::string file_;
  bool quiet_, drawn_ = false;
  Terminal terminal_;
  int64_t begin_ = -1;
  Clock::time_point start_, last_;
};

}  // namespace

void fetch_dataset(const std::string& name, const fs::path& root, const std::vector<std::string>& mirrors,
                   bool keep_archive, const GlobalOptions& options) {
  const auto archive = dataset_archive(name);
  if (!archive)
    fail(ErrorCategory::usage, "data fetch ", name, ": ",
         has_files(name) ? "has no free address; name the folder that holds it with --data " + name + ":DIR"
                         : "is generated, there is nothing to download");
  std::error_code failure;
  fs::create_directories(root, failure);
  if (failure) fail(ErrorCategory::cannot_write, root.string(), ": ", failure.message());
  const WebFile file{.urls = mirrors.empty() ? std::vector{archive->url} : mirrors, .sha256 = archive->sha256};
  const std::string base = archive->url.substr(archive->url.rfind('/') + 1), path = (root / base).string();
  if (!fs::exists(path, failure) || sha256_of_file(path) != archive->sha256) {
    DownloadLine line(base, options);
    download(file, path, {.progress = [&](int64_t done, int64_t all) { line.update(done, all); }});
  }
  unpack_folder(path, archive->folder, root.string());
  if (!keep_archive) fs::remove(path, failure);
}

void offer_dataset(const std::string& name, const fs::path& root, bool wanted, const GlobalOptions& options) {
  if (holds_dataset(name, root)) return;
  if (!wanted) {
    if (!dataset_archive(name)) return;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO) || options.quiet) return;
    const auto archive = dataset_archive(name);
    std::cerr << name << " is not in " << root.string() << "; download " << archive->size << " from " << archive->url
              << "? [y/N] " << std::flush;
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "Y" && answer != "yes") return;
  }
  fetch_dataset(name, root, {}, false, options);
}

}  // namespace apotnet
