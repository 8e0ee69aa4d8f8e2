#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/commands/command.h"

namespace apotnet {

/// Downloads a data set's archive and unpacks it into `root`, with progress on stderr. `mirrors` are addresses of the
/// same archive, tried in order in place of its own. Error(usage) for a data set without an archive; else as of
/// download() and unpack_folder().
void fetch_dataset(const std::string& name, const std::filesystem::path& root, const std::vector<std::string>& mirrors,
                   bool keep_archive, const GlobalOptions& options);

/// What `train` does about a data set that is not there: downloads it when `wanted`, or when the user says yes to the
/// question that a terminal is asked; otherwise nothing.
void offer_dataset(const std::string& name, const std::filesystem::path& root, bool wanted,
                   const GlobalOptions& options);

}  // namespace apotnet
