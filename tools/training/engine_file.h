#pragma once

#include <map>
#include <string>

#include "core/kernels/accelerator.h"

namespace apotnet {

/// engines.json in the run folder of a training on a device: which of the vendor's kernels computes each convolution.
/// A resumed run asks for the same ones, so that it goes on to the same bits.
class EngineFile {
 public:
  /// With `resumed` the device is asked for the engines of the file; one that is not there or holds something else is
  /// like an empty one.
  EngineFile(std::string path, Accelerator& device, bool resumed);

  /// Adds what the device has chosen since. Returns a line for the user, empty as a rule: engines of the file are not
  /// to be had any more, or it held something else. Error(cannot_write).
  std::string update();

 private:
  std::string path_;
  Accelerator& device_;
  std::map<std::string, std::string> stored_;
  bool unreadable_ = false;
};

}  // namespace apotnet
