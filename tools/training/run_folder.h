#pragma once

#include <filesystem>
#include <string>

namespace apotnet {

/// Folder for a new run: `wanted`, which must not hold one yet, or for an empty name runs/<config name>, numbered -2,
/// -3 ... behind the newest that is there. Error(usage) when `wanted` holds a run.
std::filesystem::path new_run_folder(const std::string& wanted, const std::string& config_path);

/// Folder of the run to continue: `wanted`, or for an empty name the newest of runs/<config name>[-N]. Nothing need be
/// there.
std::filesystem::path former_run_folder(const std::string& wanted, const std::string& config_path);

/// Whether a run folder has checkpoints of whatever name.
bool holds_checkpoints(const std::filesystem::path& folder);

/// The folder of one run, this process's alone as long as the object lives: config.json, environment.json, metrics,
/// status.json, checkpoints/ and, with a device, engines.json.
class RunFolder {
 public:
  /// Makes what is missing and removes the half-written files of a process that was killed. Error(cannot_write), or
  /// Error(usage) when another process trains there.
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string checkpoints() const { return file("checkpoints"); }
  /// checkpoints/NAME.safetensors
  std::string checkpoint(const std::string& name) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;  // descriptor of the folder
};

}  // namespace apotnet
