#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace apotnet {

/// Which data: "cifar10:DIR", a bare folder (the name is empty and guessed from its files), or the name of built-in
/// data.
struct DataSpec {
  std::string name, root;
};
DataSpec parse_data_spec(const std::string& text);

/// For data sets that are generated.
struct DataOptions {
  uint64_t seed = 1;
  int64_t train_count = 10000, test_count = 2000;
};

std::vector<std::string> dataset_names();

/// Opens one split. An empty root stands for $APOTNET_DATA, else ${XDG_CACHE_HOME:-~/.cache}/apotnet.
/// Error(usage) for an unknown name, Error(input_missing), Error(damaged_data).
std::shared_ptr<Dataset> open_dataset(const DataSpec& spec, Split split, const DataOptions& options);

}  // namespace apotnet
