#pragma once

#include <functional>
#include <limits>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "tools/config/json_document.h"
#include "tools/config/run_config.h"

namespace apotnet {

/// Where a field's value lives.
using FieldTarget =
    std::variant<bool*, int64_t*, double*, std::string*, std::vector<std::string>*, std::vector<int64_t>*>;

/// One row of the table that drives reading, checking, `config show` and the reference in docs/.
struct Field {
  std::string path;  ///< "data.batch"; a field of a stage is "stages.*.lr"
  std::function<FieldTarget(RunConfig&, StageConfig&)> target;
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;  ///< whether the bound itself is excluded
  std::vector<std::string> choices = {};     ///< of strings; empty = any
  bool required = false;
  bool free_on_resume = false;  ///< changes no number of a run, so that a resumed one may have another value
  std::string unit, help;
  std::string default_text = {};  ///< of a default that depends on others, in words

  bool in_stage() const { return path.starts_with("stages.*."); }
  std::string leaf() const { return path.substr(path.rfind('.') + 1); }
  /// "a number in (0, 10]", "one of apot, pot, uniform", ...
  std::string expectation() const;
  /// Writes a JSON value to its target; false when type, range or choice do not fit.
  bool assign(const JsonNode& value, FieldTarget target) const;
};

/// Every field (field_table.cpp), in the order in which a resolved configuration shows them.
std::span<const Field> fields();

/// The value at a target as JSON.
JsonNode value_at(const FieldTarget& target);

/// The field that a path of a resolved configuration ("stages.0.lr") stands for; nullptr for none.
const Field* find_field(const std::string& path);

/// The known path nearest to an unknown one, or empty when none is near.
std::string nearest_path(const std::string& path);

/// The table as Markdown, for docs/configuration.md.
std::string markdown_reference();

}  // namespace apotnet
