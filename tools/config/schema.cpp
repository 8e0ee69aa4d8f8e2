#include "tools/config/schema.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "data/registry.h"
#include "models/registry.h"

namespace apotnet {
namespace {

using Kind = JsonNode::Kind;

#define RUN_FIELD(member) [](RunConfig& run, StageConfig&) -> FieldTarget { return &run.member; }
#define STAGE_FIELD(member) [](RunConfig&, StageConfig& stage) -> FieldTarget { return &stage.member; }

const double kLargestSeed = 9007199254740992.0;  // 2^53: exact in JSON whatever reads it

std::vector<Field> run_fields() {
  return {
      {.path = "model.name", .target = RUN_FIELD(model.name), .choices = model_names(), .unit = "", .help = "Network"},
      {.path = "data.name", .target = RUN_FIELD(data.name), .choices = dataset_names(), .unit = "", .help = "Data set"},
      {.path = "data.root",
       .target = RUN_FIELD(data.root),
       .free_on_resume = true,
       .unit = "",
       .help = "Folder of the data; empty: APOTNET_DATA, else the user's cache folder"},
      {.path = "data.batch",
       .target = RUN_FIELD(data.batch),
       .low = 1,
       .high = 65536,
       .unit = "images",
       .help = "Images per step; the last step of an epoch may have fewer"},
      {.path = "data.augment",
       .target = RUN_FIELD(data.augment),
       .choices = {"pad_crop", "flip"},
       .unit = "",
       .help = "Random changes of training images"},
      {.path = "data.validation",
       .target = RUN_FIELD(data.validation),
       .low = 0,
       .high = 1e6,
       .unit = "images",
       .help = "Training images held out to choose the best epoch; 0: choose on the test set, as the reference did"},
      {.path = "data.workers",
       .target = RUN_FIELD(data.workers),
       .low = 1,
       .high = 64,
       .free_on_resume = true,
       .unit = "threads",
       .help = "Threads that prepare batches"},
      {.path = "data.train_limit",
       .target = RUN_FIELD(data.train_limit),
       .low = 0,
       .high = 1e9,
       .unit = "images",
       .help = "Only the first images of the training split; 0: all"},
      {.path = "data.test_limit",
       .target = RUN_FIELD(data.test_limit),
       .low = 0,
       .high = 1e9,
       .unit = "images",
       .help = "Only the first images of the test split; 0: all"},
      {.path = "data.train_count",
       .target = RUN_FIELD(data.train_count),
       .low = 10,
       .high = 1e6,
       .unit = "images",
       .help = "Size of a generated training split (shapes10)"},
      {.path = "data.test_count",
       .target = RUN_FIELD(data.test_count),
       .low = 10,
       .high = 1e6,
       .unit = "images",
       .help = "Size of a generated test split (shapes10)"},
      {.path = "quant.method",
       .target = RUN_FIELD(quant.method),
       .choices = {"apot", "pot", "uniform"},
       .unit = "",
       .help = "How levels are spaced"},
      {.path = "quant.variant",
       .target = RUN_FIELD(quant.variant),
       .choices = {"cifar", "imagenet"},
       .unit = "",
       .help = "Which of the two published quantizers"},
      {.path = "quant.first_last",
       .target = RUN_FIELD(quant.first_last),
       .choices = {"apot-compat", "absmax8", "float"},
       .unit = "",
       .help = "How the first and the last layer round their weights to 8 bits"},
      {.path = "quant.grad_scale",
       .target = RUN_FIELD(quant.grad_scale),
       .low = 0,
       .high = 1,
       .low_open = true,
       .unit = "",
       .help = "Factor on the gradients of the clipping thresholds (imagenet variant)"},
      {.path = "optimizer.momentum",
       .target = RUN_FIELD(optimizer.momentum),
       .low = 0,
       .high = 1,
       .high_open = true,
       .unit = "",
       .help = "Momentum of SGD"},
      {.path = "optimizer.weight_alpha_lr",
       .target = RUN_FIELD(optimizer.weight_alpha_lr),
       .low = 0,
       .high = 10,
       .low_open = true,
       .unit = "",
       .help = "Learning rate of the weights' thresholds (cifar variant)"},
      {.path = "optimizer.activation_alpha_lr",
       .target = RUN_FIELD(optimizer.activation_alpha_lr),
       .low = 0,
       .high = 10,
       .low_open = true,
       .unit = "",
       .help = "Learning rate of the activations' thresholds (cifar variant)"},
      {.path = "optimizer.alpha_weight_decay",
       .target = RUN_FIELD(optimizer.alpha_weight_decay),
       .low = 0,
       .high = 1,
       .unit = "",
       .help = "Weight decay of all thresholds (cifar variant)"},
      {.path = "checkpoint.every_steps",
       .target = RUN_FIELD(checkpoint.every_steps),
       .low = 0,
       .high = 1e9,
       .free_on_resume = true,
       .unit = "steps",
       .help = "Also saves last inside an epoch, after every so many steps; 0: at the end of each epoch only"},
      {.path = "seed",
       .target = RUN_FIELD(seed),
       .low = 0,
       .high = kLargestSeed,
       .unit = "",
       .help = "Of every random number of the run"}};
}

std::vector<Field> stage_fields() {
  return {
      {.path = "stages.*.name", .target = STAGE_FIELD(name), .unit = "", .help = "Name, for messages and checkpoints"},
      // Sets both widths; resolved configurations show the two below.
      {.path = "stages.*.bits",
       .target = STAGE_FIELD(weight_bits),
       .low = 2,
       .high = 32,
       .unit = "bits",
       .help = "Width of weights and activations, 2 to 8, or 32: not quantized"},
      {.path = "stages.*.weight_bits",
       .target = STAGE_FIELD(weight_bits),
       .low = 2,
       .high = 32,
       .unit = "bits",
       .help = "Width of the weights where it differs from bits"},
      {.path = "stages.*.activation_bits",
       .target = STAGE_FIELD(activation_bits),
       .low = 2,
       .high = 32,
       .unit = "bits",
       .help = "Width of the activations where it differs from bits"},
      {.path = "stages.*.epochs",
       .target = STAGE_FIELD(epochs),
       .low = 1,
       .high = 100000,
       .required = true,
       .unit = "epochs",
       .help = "Length of the stage"},
      {.path = "stages.*.lr",
       .target = STAGE_FIELD(lr),
       .low = 0,
       .high = 10,
       .low_open = true,
       .required = true,
       .unit = "",
       .help = "Learning rate at the start"},
      {.path = "stages.*.weight_decay",
       .target = STAGE_FIELD(weight_decay),
       .low = 0,
       .high = 1,
       .unit = "",
       .help = "Weight decay of everything but the thresholds"},
      {.path = "stages.*.schedule",
       .target = STAGE_FIELD(schedule),
       .choices = {"milestones", "cosine", "constant"},
       .unit = "",
       .help = "How the learning rates fall"},
      {.path = "stages.*.milestones",
       .target = STAGE_FIELD(milestones),
       .low = 1,
       .high = 100000,
       .unit = "epochs",
       .help = "After how many epochs the learning rates are multiplied by gamma"},
      {.path = "stages.*.gamma",
       .target = STAGE_FIELD(gamma),
       .low = 0,
       .high = 1,
       .low_open = true,
       .unit = "",
       .help = "Factor at each milestone"},
      {.path = "stages.*.warmup_epochs",
       .target = STAGE_FIELD(warmup_epochs),
       .low = 0,
       .high = 1000,
       .unit = "epochs",
       .help = "Linear rise of the learning rates at the start"},
      {.path = "stages.*.label_smoothing",
       .target = STAGE_FIELD(label_smoothing),
       .low = 0,
       .high = 1,
       .high_open = true,
       .unit = "",
       .help = "Share of each label that is spread over all classes"},
      {.path = "stages.*.init",
       .target = STAGE_FIELD(init),
       .choices = {"last", "best"},
       .unit = "",
       .help = "Which weights of the stage before this one starts from"}};
}

#undef RUN_FIELD
#undef STAGE_FIELD

std::string join(std::span<const std::string> words) {
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : ", ") + word;
  return result;
}

bool is_bits(const Field& field) { return field.path.ends_with("bits"); }

// A number the way JSON writes it, 65536 rather than 65536.0.
std::string number(double value) {
  return value == static_cast<double>(static_cast<int64_t>(value)) ? text(static_cast<int64_t>(value)) : text(value);
}

bool is_name(const std::string& value) {
  return !value.empty() && value.size() <= 64 &&
         std::ranges::all_of(value, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j)
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])}));
  }
  return row[b.size()];
}

// Reads the items of a list when all of them fit.
template <typename Item, typename Read>
bool assign_list(const JsonNode& value, std::vector<Item>& target, Read&& read) {
  if (!value.is(Kind::array)) return false;
  std::vector<Item> items;
  for (const JsonNode& item : value.items)
    if (!read(item, items)) return false;
  target = std::move(items);
  return true;
}

}  // namespace

std::span<const Field> fields() {
  static const std::vector<Field> all = [] {
    std::vector<Field> result = run_fields();
    for (Field& field : stage_fields()) result.push_back(std::move(field));
    return result;
  }();
  return all;
}

std::string Field::expectation() const {
  RunConfig run;
  StageConfig stage;
  const FieldTarget where = target(run, stage);
  if (is_bits(*this)) return "an integer from 2 to 8, or 32";
  if (leaf() == "name" && in_stage()) return "a name of 1 to 64 letters, digits, - and _";
  const std::string range = text(low_open ? "(" : "[", number(low), ", ", number(high), high_open ? ")" : "]");
  if (std::holds_alternative<int64_t*>(where)) return text("an integer from ", number(low), " to ", number(high));
  if (std::holds_alternative<double*>(where)) return "a number in " + range;
  if (std::holds_alternative<std::vector<int64_t>*>(where)) return "a list of increasing integers from " + number(low);
  const std::string words = choices.empty() ? "a string" : "one of " + join(choices);
  return std::holds_alternative<std::vector<std::string>*>(where) ? "a list of different words, each " + words : words;
}

bool Field::assign(const JsonNode& value, FieldTarget where) const {
  const auto in_range = [&](double x) {
    const bool bits = !is_bits(*this) || x <= 8 || x == 32;
    return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high) && bits;
  };
  const auto known = [&](const std::string& word) { return choices.empty() || std::ranges::count(choices, word) > 0; };
  if (auto* integer = std::get_if<int64_t*>(&where)) {
    if (!value.is(Kind::integer) || !in_range(value.real)) return false;
    **integer = value.integer;
  } else if (auto* real = std::get_if<double*>(&where)) {
    if ((!value.is(Kind::integer) && !value.is(Kind::real)) || !in_range(value.real)) return false;
    **real = value.real;
  } else if (auto* string = std::get_if<std::string*>(&where)) {
    const bool names_stage = in_stage() && leaf() == "name";
    if (!value.is(Kind::string) || !known(value.string) || (names_stage && !is_name(value.string))) return false;
    **string = value.string;
  } else if (auto* words = std::get_if<std::vector<std::string>*>(&where)) {
    return assign_list(value, **words, [&](const JsonNode& item, std::vector<std::string>& items) {
      if (!item.is(Kind::string) || !known(item.string) || std::ranges::count(items, item.string)) return false;
      items.push_back(item.string);
      return true;
    });
  } else if (auto* integers = std::get_if<std::vector<int64_t>*>(&where)) {
    return assign_list(value, **integers, [&](const JsonNode& item, std::vector<int64_t>& items) {
      if (!item.is(Kind::integer) || !in_range(item.real) || (!items.empty() && item.integer <= items.back()))
        return false;
      items.push_back(item.integer);
      return true;
    });
  }
  return true;
}

JsonNode value_at(const FieldTarget& target) {
  const auto scalar = [](const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    JsonNode node;
    if constexpr (std::is_same_v<Value, int64_t>) {
      node.kind = Kind::integer;
      node.integer = value;
      node.real = static_cast<double>(value);
    } else if constexpr (std::is_same_v<Value, double>) {
      node.kind = Kind::real;
      node.real = value;
    } else {
      node.kind = Kind::string;
      node.string = value;
    }
    return node;
  };
  return std::visit(
      [&](const auto* value) {
        using Value = std::decay_t<decltype(*value)>;
        if constexpr (std::is_same_v<Value, std::vector<std::string>> || std::is_same_v<Value, std::vector<int64_t>>) {
          JsonNode list;
          list.kind = Kind::array;
          for (const auto& item : *value) list.items.push_back(scalar(item));
          return list;
        } else {
          return scalar(*value);
        }
      },
      target);
}

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
    const std::string value = field.required ? "required" : value_at(field.target(run, stage)).dump();
    table += text("| `", field.path, "` | `", value, "` | ", field.expectation(), field.unit.empty() ? "" : ", ",
                  field.unit, " | ", field.help, " |\n");
  }
  return table;
}

}  // namespace apotnet
