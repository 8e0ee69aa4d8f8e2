#pragma once

#include <string>
#include <vector>

#include "tools/config/run_config.h"

namespace apotnet {

/// One value of a resolved configuration and where it comes from.
struct ConfigValue {
  std::string path;    ///< "stages.0.lr"
  std::string value;   ///< JSON
  std::string origin;  ///< "file:line:column", "--set" or "default"
};

struct ResolvedConfig {
  RunConfig run;
  std::string json;  ///< every field, in the order of the table; loading it gives the same run
  std::vector<ConfigValue> values;
};

/// Reads a configuration: the file, the files it extends (RFC 7396 merge), then "path=value" overrides, each a JSON
/// value or else a bare string. Error(input_missing), or Error(configuration) with one line for each mistake:
///   "file:line:column: error: optimizer.lr: expected a number in (0, 10], got string "0,1""
ResolvedConfig load_config(const std::string& path, const std::vector<std::string>& overrides);

/// A configuration as stored in a checkpoint; `where` names the checkpoint in messages.
RunConfig parse_resolved(const std::string& json, const std::string& where);

/// What keeps a run of `present` from continuing one whose resolved configuration is `stored`: "path: old -> new" for
/// each field that differs, except those that change no number. `where` names the checkpoint in messages.
std::vector<std::string> differences(const std::string& stored, const ResolvedConfig& present,
                                     const std::string& where);

}  // namespace apotnet
