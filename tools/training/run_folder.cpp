#include "tools/training/run_folder.h"

#include <system_error>

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

fs::path choose(const std::string& wanted, const std::string& config_path) {
  if (!wanted.empty()) {
    if (is_there(fs::path(wanted) / "config.json"))
      fail(ErrorCategory::usage, wanted, ": holds a run already; name another folder with --out");
    return wanted;
  }
  const fs::path base = fs::path("runs") / fs::path(config_path).stem();
  fs::path folder = base;
  for (int number = 2; is_there(folder); ++number) folder = base.string() + "-" + std::to_string(number);
  return folder;
}

}  // namespace

RunFolder::RunFolder(const std::string& wanted, const std::string& config_path, const std::string& config_json)
    : path_(choose(wanted, config_path)) {
  std::error_code error;
  fs::create_directories(path_ / "checkpoints", error);
  if (error) fail(ErrorCategory::cannot_write, path_.string(), ": cannot create the run folder: ", error.message());
  write_file_atomically((path_ / "config.json").string(), {std::as_bytes(std::span(config_json))});
  metrics_.open(path_ / "metrics.csv");
  metrics_ << "stage,epoch,step,samples_seen,learning_rate,train_loss,train_top1,validation_loss,validation_top1,"
              "seconds,images_per_second\n"
           << std::flush;
  if (!metrics_) fail(ErrorCategory::cannot_write, (path_ / "metrics.csv").string(), ": cannot write");
}

std::string RunFolder::checkpoint(const std::string& name) const {
  return (path_ / "checkpoints" / (name + ".safetensors")).string();
}

void RunFolder::append(const EpochMetrics& m) {
  metrics_ << m.stage << ',' << m.epoch << ',' << m.step << ',' << m.samples_seen << ',' << m.learning_rate << ','
           << m.train_loss << ',' << m.train_top1 << ',' << m.validation_loss << ',' << m.validation_top1 << ','
           << m.seconds << ',' << m.images_per_second << '\n'
           << std::flush;
  if (!metrics_)
    fail(ErrorCategory::cannot_write, (path_ / "metrics.csv").string(), ": cannot write; is the disk full?");
}

}  // namespace apotnet
