#pragma once

#include <memory>

#include "data/dataset.h"
#include "data/loader.h"
#include "tools/config/run_config.h"

namespace apotnet {

/// The data of a run. `validation` chooses the best epoch: images held out of `train`, or with data.validation = 0 the
/// test split itself, as in the reference.
struct RunData {
  std::shared_ptr<const Dataset> train, validation, test;
};

/// Errors of open_dataset().
RunData open_run_data(const RunConfig& run);
/// One split as the configuration describes it.
std::shared_ptr<const Dataset> open_run_split(const RunConfig& run, Split split);

/// How a run reads its training images.
LoaderOptions loader_options(const RunConfig& run);

}  // namespace apotnet
