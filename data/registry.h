#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/image_folder.h"

namespace apotnet {

/// The data sets that open_dataset knows.
std::vector<std::string> dataset_names();

/// Which data set and where; an empty root stands for the data root.
struct DataSpec {
  std::string name;
  std::filesystem::path root;
};

/// Reads "NAME", "NAME:DIR" or "DIR". A bare folder's data set is told from the files in it. Error(usage) for an
/// unknown name, Error(input_missing) for a folder that is not there or holds no known data set.
DataSpec parse_data_spec(const std::string& spec);

/// Where data sets are looked for: the folder given on the command line, else the config's `data.root`, else the
/// environment's APOTNET_DATA, else ${XDG_CACHE_HOME:-~/.cache}/apotnet. Empty arguments count as not given.
std::filesystem::path resolve_data_root(const std::filesystem::path& given, const std::filesystem::path& configured);

struct DatasetOptions {
  uint64_t seed = 1;  ///< of generated data sets (shapes10), and their sizes
  int64_t train_count = 10000, test_count = 2000;
  PictureOptions pictures{};  ///< of data sets of picture files (imagenet)
};

/// `root` is not read by generated data sets. Error(configuration) for an unknown name; else what the data set's reader
/// throws.
std::shared_ptr<const Dataset> open_dataset(const std::string& name, const std::filesystem::path& root, Split split,
                                            const DatasetOptions& options = {});

/// Class names, image size and normalisation of a data set, without reading files; no split is named.
/// Error(configuration) for an unknown name.
DatasetInfo dataset_info(const std::string& name);

/// Whether a data set is read from files, not generated. Error(configuration) for an unknown name.
bool has_files(const std::string& name);

/// Where a data set can be downloaded; nothing for one that cannot. Error(configuration) for an unknown name.
std::optional<DatasetArchive> dataset_archive(const std::string& name);

/// Whether files of the data set are in `root`, or in the folder there that its archive unpacks to; true for one that
/// is generated. Error(configuration) for an unknown name.
bool holds_dataset(const std::string& name, const std::filesystem::path& root);

}  // namespace apotnet
