#pragma once

#include <memory>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/registry.h"
#include "tools/config/run_config.h"

namespace apotnet {

/// The data of a run. `validation` chooses the best epoch: images held out of `train`, or with data.validation = 0 the
/// test split itself, as in the reference.
struct RunData {
  std::shared_ptr<const Dataset> train, validation, test;
};

/// Errors of open_dataset(); Error(configuration) when both splits do not have the same classes.
RunData open_run_data(const RunConfig& run);
/// How data sets of pictures are read and generated ones drawn.
DatasetOptions dataset_options(const RunConfig& run);
/// One split as the configuration describes it.
std::shared_ptr<const Dataset> open_run_split(const RunConfig& run, Split split);

/// How a run reads its training images, in the parts of data.accumulate.
LoaderOptions loader_options(const RunConfig& run);

}  // namespace apotnet
