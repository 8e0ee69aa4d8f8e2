#include "tools/config/schema.h"

#include <algorithm>

#include "core/base/error.h"
#include "tools/nearest.h"

namespace apotnet {
const Field* find_field(const std::string& path) {
  std::string pattern = path;
  if (path.starts_with("stages.")) pattern = "stages.*" + path.substr(std::min(path.find('.', 7), path.size()));
  const auto found = std::ranges::find(fields(), pattern, &Field::path);
  return found == fields().end() ? nullptr : &*found;
}

std::string nearest_path(const std::string& path) {
  const std::string leaf = path.substr(path.rfind('.') + 1);
  std::string best;
  size_t least = std::max<size_t>(2, leaf.size() / 3) + 1;
  for (const Field& field : fields()) {
    // The right word in the wrong place costs one.
    const size_t distance = std::min(edit_distance(path, field.path), edit_distance(leaf, field.leaf()) + 1);
    if (distance < least) {
      least = distance;
      best = field.path;
    }
  }
  if (const size_t star = best.find('*'); star != std::string::npos) best.replace(star, 1, "0");
  return best;
}

std::string markdown_reference() {
  std::string table = "| field | default | values | meaning |\n|---|---|---|---|\n";
  RunConfig run;
  StageConfig stage;
  for (const Field& field : fields()) {
    const std::string value = field.required                ? "`required`"
                              : !field.default_text.empty() ? field.default_text
                                                            : "`" + value_at(field.target(run, stage)).dump() + "`";
    table += text("| `", field.path, "` | ", value, " | ", field.expectation(), field.unit.empty() ? "" : ", ",
                  field.unit, " | ", field.help, " |\n");
  }
  return table;
}

}  // namespace apotnet
