#include "tools/config/config.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/quant/level_set.h"
#include "data/registry.h"
#include "tools/config/schema.h"
#include "tools/nearest.h"

namespace apotnet {
namespace fs = std::filesystem;
namespace {

using Kind = JsonNode::Kind;

constexpr const char* kOverride = "--set";

// RFC 7396: objects are merged, null removes, everything else replaces.
void merge(JsonNode& target, const JsonNode& patch) {
  if (!patch.is(Kind::object) || !target.is(Kind::object)) {
    target = patch;
    return;
  }
  for (size_t i = 0; i < patch.items.size(); ++i) {
    const std::string& key = patch.keys[i];
    if (patch.items[i].is(Kind::null))
      target.erase(key);
    else if (JsonNode* present = target.find(key))
      merge(*present, patch.items[i]);
    else if (patch.items[i].is(Kind::object)) {
      JsonNode fresh;  // so that nulls inside are removed too
      fresh.kind = Kind::object;
      fresh.origin = patch.items[i].origin;
      merge(fresh, patch.items[i]);
      target.set(key, std::move(fresh), patch.key_origins[i]);
    } else {
      target.set(key, patch.items[i], patch.key_origins[i]);
    }
  }
}

JsonNode load_file(const fs::path& path, std::vector<fs::path>& chain) {
  std::error_code unknown;  // what cannot be looked at is reported when it is read
  const fs::path canonical = fs::weakly_canonical(path, unknown);
  const bool repeats = std::ranges::find(chain, canonical) != chain.end();
  chain.push_back(canonical);
  if (repeats) {
    std::string cycle;
    for (const fs::path& step : chain) cycle += (cycle.empty() ? "" : " extends ") + step.filename().string();
    fail(ErrorCategory::configuration, path.string(), ":1:1: error: extends: a circle, ", cycle,
         "; take one of them out");
  }
  const std::vector<std::byte> bytes = read_file(path.string());
  JsonNode node = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
  if (!node.is(Kind::object))
    fail(ErrorCategory::configuration, node.origin, ": error: expected an object {...}, got ", node.describe());
  if (const JsonNode* base = node.find("extends")) {
    if (!base->is(Kind::string))
      fail(ErrorCategory::configuration, base->origin, ": error: extends: expected a file name, got ",
           base->describe());
    const fs::path base_path = path.parent_path() / base->string;
    if (!fs::exists(base_path, unknown))
      fail(ErrorCategory::configuration, base->origin, ": error: extends: there is no ", base_path.string(),
           "; the name is relative to this file");
    JsonNode merged = load_file(base_path, chain);
    node.erase("extends");
    merge(merged, node);
    node = std::move(merged);
  }
  chain.pop_back();
  return node;
}

void set_origin(JsonNode& node, const std::string& origin) {
  node.origin = origin;
  for (JsonNode& item : node.items) set_origin(item, origin);
  std::ranges::fill(node.key_origins, origin);
}

// The value of an override: JSON if it is, else the bare text.
JsonNode parse_override_value(const std::string& value) {
  JsonNode node;
  try {
    node = parse_json(value, kOverride);
  } catch (const Error&) {
    node.kind = Kind::string;
    node.string = value;
  }
  set_origin(node, kOverride);
  return node;
}

void apply_override(JsonNode& root, const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0)
    fail(ErrorCategory::configuration, kOverride, " ", setting,
         ": error: expected path=value, as in stages.0.epochs=1");
  JsonNode* node = &root;
  std::string_view path(setting.data(), equals);
  for (;;) {
    const size_t dot = path.find('.');
    const std::string part(path.substr(0, dot));
    JsonNode* next = nullptr;
    if (node->is(Kind::array)) {
      size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (error != std::errc{} || end != part.data() + part.size() || index >= node->items.size())
        fail(ErrorCategory::configuration, kOverride, " ", setting, ": error: \"", part,
             "\" is no entry of this list of ", node->items.size(), "; entries are counted from 0");
      next = &node->items[index];
    } else {
      if (!node->find(part)) {
        JsonNode empty;
        empty.kind = Kind::object;
        set_origin(empty, kOverride);
        node->set(part, std::move(empty), kOverride);
      }
      next = node->find(part);
    }
    node = next;
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
    if (!node->is(Kind::object) && !node->is(Kind::array)) {
      *node = JsonNode{};
      node->kind = Kind::object;
      node->origin = kOverride;
    }
  }
  *node = parse_override_value(setting.substr(equals + 1));
}

// Checks a merged tree against the field table and reads it, collecting every mistake.
class Reader {
 public:
  ResolvedConfig read(const JsonNode& root) {
    check_keys(root, "");
    StageConfig none;
    for (const Field& field : fields())
      if (!field.in_stage()) read_field(field, find(root, field.path), field.path, root.origin, none);
    read_stages(root);
    cross_check(root);
    if (!mistakes_.empty()) {
      std::string all;
      for (const std::string& mistake : mistakes_) all += (all.empty() ? "" : "\n") + mistake;
      throw Error(ErrorCategory::configuration, all);
    }
    result_.json = to_json();
    return std::move(result_);
  }

 private:
  template <typename... Parts>
  void mistake(const std::string& origin, const Parts&... parts) {
    mistakes_.push_back(text(origin, ": error: ", parts...));
  }

  // Paths that are a field, or lead to one.
  static bool is_known(const std::string& pattern) {
    return std::ranges::any_of(fields(), [&](const Field& field) {
      return field.path == pattern || field.path.starts_with(pattern + ".") || pattern == "stages";
    });
  }

  void check_keys(const JsonNode& node, const std::string& path) {
    if (path == "stages" && !node.is(Kind::array)) return;  // read_stages() says that it is no list
    for (size_t i = 0; i < node.keys.size(); ++i) {
      const std::string full = path.empty() ? node.keys[i] : path + "." + node.keys[i];
      std::string pattern = full;
      if (full.starts_with("stages.")) pattern = "stages.*" + full.substr(std::min(full.find('.', 7), full.size()));
      if (is_known(pattern)) {
        const bool leads_on = !std::ranges::any_of(fields(), [&](const Field& field) { return field.path == pattern; });
        if (leads_on && pattern != "stages" && !node.items[i].is(Kind::object))
          mistake(node.items[i].origin, full, ": expected an object {...}, got ", node.items[i].describe());
        else if (leads_on)
          check_keys(node.items[i], full);
        continue;
      }
      mistake(node.key_origins[i], full, ": unknown key", did_you_mean(nearest_path(pattern)));
    }
    if (path == "stages")
      for (size_t i = 0; i < node.items.size(); ++i) {
        const std::string full = text("stages.", i);
        if (node.items[i].is(Kind::object))
          check_keys(node.items[i], full);
        else
          mistake(node.items[i].origin, full, ": expected an object {...}, got ", node.items[i].describe());
      }
  }

  static const JsonNode* find(const JsonNode& root, const std::string& path) {
    const JsonNode* node = &root;
    for (size_t begin = 0; node && begin <= path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      node = node->find(path.substr(begin, end - begin));
      begin = end + 1;
    }
    return node;
  }

  void read_field(const Field& field, const JsonNode* value, const std::string& path, const std::string& owner_origin,
                  StageConfig& stage) {
    const FieldTarget target = field.target(result_.run, stage);
    if (value && !field.assign(*value, target)) {
      mistake(value->origin, path, ": expected ", field.expectation(), ", got ", value->describe());
      wrong_.insert(path);
    }
    if (!value && field.required) mistake(owner_origin, path, ": missing; expected ", field.expectation());
    if (field.leaf() != "bits")
      result_.values.push_back({path, value_at(target).dump(), value ? value->origin : "default"});
    if (field.leaf() == "bits") stage.activation_bits = stage.weight_bits;
  }

  void read_stages(const JsonNode& root) {
    const JsonNode* stages = root.find("stages");
    if (!stages || !stages->is(Kind::array) || stages->items.empty()) {
      mistake(stages ? stages->origin : root.origin, "stages: expected a list of at least one stage, ",
              stages ? "got " + stages->describe() : "as in \"stages\": [{\"epochs\": 10, \"lr\": 0.1}]");
      return;
    }
    for (size_t i = 0; i < stages->items.size(); ++i) {
      const JsonNode& node = stages->items[i];
      StageConfig stage;
      stage.name = text("stage", i + 1);
      if (!node.is(Kind::object)) {  // reported with the keys
        result_.run.stages.push_back(stage);
        continue;
      }
      const JsonNode* bits = node.find("bits");
      for (const Field& field : fields())
        if (field.in_stage()) {
          const size_t first = result_.values.size();
          read_field(field, node.find(field.leaf()), text("stages.", i, ".", field.leaf()), node.origin, stage);
          // A width that comes from "bits" was written there.
          if (bits && field.leaf().ends_with("_bits") && result_.values[first].origin == "default")
            result_.values[first].origin = bits->origin;
        }
      result_.run.stages.push_back(stage);
    }
  }

  void cross_check(const JsonNode& root) {
    const RunConfig& run = result_.run;
    const JsonNode* nodes = root.find("stages");
    for (size_t i = 0; i < run.stages.size(); ++i) {
      const StageConfig& stage = run.stages[i];
      const JsonNode& node = nodes->items[i];
      const auto origin = [&](const char* key) { return node.find(key) ? node.find(key)->origin : node.origin; };
      if (!stage.milestones.empty() && stage.epochs > 0 && stage.milestones.back() >= stage.epochs)
        mistake(origin("milestones"), "stages.", i, ".milestones: ", stage.milestones.back(),
                " is not below the stage's ", stage.epochs, " epochs");
      if ((stage.weight_bits == 32) != (stage.activation_bits == 32))
        mistake(origin("weight_bits"), "stages.", i, ".weight_bits: weights of ", stage.weight_bits,
                " and activations of ", stage.activation_bits, " bits; either both are 32 or both are quantized");
      for (const auto& [key, bits, levels] : {std::tuple{"weight_bits", stage.weight_bits, &LevelSet::for_weights},
                                              {"activation_bits", stage.activation_bits, &LevelSet::for_activations}})
        if (bits != 32 && !wrong_.contains("quant.method")) try {
            levels(parse_level_method(run.quant.method), static_cast<int>(bits));
          } catch (const Error& error) {
            mistake(origin(node.find(key) ? key : "bits"), "stages.", i, ".", key, ": ", error.what());
          }
      for (size_t j = 0; j < i; ++j)
        if (run.stages[j].name == stage.name)
          mistake(origin("name"), "stages.", i, ".name: \"", stage.name, "\" is the name of stages.", j, " too");
    }
    check_data(root);
    if (run.data.ghost_batch == 1)
      mistake(find(root, "data.ghost_batch")->origin,
              "data.ghost_batch: a single image has no statistics worth the name; expected 0 (off) or at least 2");
    if (run.quant.grad_scale != 1 && run.quant.variant != "imagenet")
      mistake(find(root, "quant.grad_scale")->origin,
              "quant.grad_scale: only the imagenet variant scales these gradients; set quant.variant to imagenet");
  }

  // What can be told without the files of the data set.
  void check_data(const JsonNode& root) {
    const DataConfig& data = result_.run.data;
    const auto origin = [&](const char* path) {
      const JsonNode* node = find(root, path);
      return node ? node->origin : root.origin;
    };
    if (data.batch % data.accumulate != 0)
      mistake(origin("data.accumulate"), "data.accumulate: a batch of ", data.batch, " cannot be cut into ",
              data.accumulate, " equal parts");
    const auto has = [&](const char* name) { return std::ranges::count(data.augment, name) > 0; };
    const bool crops = has("random_crop"), resizes = has("random_resized_crop");
    if (crops && resizes)
      mistake(origin("data.augment"), "data.augment: random_crop and random_resized_crop exclude each other");
    if (wrong_.contains("data.name")) return;
    const bool of_pictures = dataset_info(data.name).resized_side > 0;
    if ((crops || resizes) && !of_pictures)
      mistake(origin("data.augment"), "data.augment: random_crop and random_resized_crop are for larger pictures than ",
              data.name, " has; use pad_crop");
    if (of_pictures && data.image_size > data.resized_side)
      mistake(origin(find(root, "data.image_size") ? "data.image_size" : "data.resized_side"),
              "data.image_size: images of ", data.image_size, " pixels cannot be cut out of pictures resized to ",
              data.resized_side, " (data.resized_side)");
    const auto check_held_out = [&](const char* path, int64_t images) {
      if (data.validation >= images)
        mistake(origin(path), path, ": ", images, " training images, and data.validation holds out ", data.validation,
                " of them");
    };
    if (data.train_limit > 0) check_held_out("data.train_limit", data.train_limit);
    if (!has_files(data.name)) check_held_out("data.train_count", data.train_count);
  }

  std::string to_json() {
    nlohmann::ordered_json object;
    for (const ConfigValue& value : result_.values) {
      std::string pointer = "/" + value.path;
      std::ranges::replace(pointer, '.', '/');
      object[nlohmann::ordered_json::json_pointer(pointer)] = nlohmann::ordered_json::parse(value.value);
    }
    return object.dump(2) + "\n";
  }

  ResolvedConfig result_;
  std::vector<std::string> mistakes_;
  std::set<std::string> wrong_;  // fields that kept their default because what stands there does not fit
};

}  // namespace

ResolvedConfig load_config(const std::string& path, const std::vector<std::string>& overrides) {
  std::vector<fs::path> chain;
  JsonNode root = load_file(path, chain);
  for (const std::string& setting : overrides) apply_override(root, setting);
  return Reader().read(root);
}

namespace {

ResolvedConfig read_stored(const std::string& json, const std::string& where) {
  try {
    return Reader().read(parse_json(json, "config"));
  } catch (const Error& error) {
    const std::string all = error.what();
    fail(ErrorCategory::damaged_data, where, ": its configuration does not hold: ", all.substr(0, all.find('\n')));
  }
}

}  // namespace

RunConfig parse_resolved(const std::string& json, const std::string& where) { return read_stored(json, where).run; }

std::vector<std::string> differences(const std::string& stored, const ResolvedConfig& present,
                                     const std::string& where) {
  const ResolvedConfig former = read_stored(stored, where);
  const auto value_in = [](const ResolvedConfig& config, const std::string& path) -> std::string {
    const auto found = std::ranges::find(config.values, path, &ConfigValue::path);
    return found == config.values.end() ? "none" : found->value;
  };
  const auto matters = [](const std::string& path) {
    const Field* field = find_field(path);
    return !field || !field->free_on_resume;
  };
  std::vector<std::string> result;
  for (const ConfigValue& value : former.values) {
    const std::string now = value_in(present, value.path);
    // A stage that is there in one of the two only is told by its name.
    if (matters(value.path) && now != value.value && (now != "none" || value.path.ends_with(".name")))
      result.push_back(text(value.path, ": ", value.value, " -> ", now));
  }
  for (const ConfigValue& value : present.values)
    if (value.path.ends_with(".name") && value_in(former, value.path) == "none")
      result.push_back(text(value.path, ": none -> ", value.value));
  return result;
}

}  // namespace apotnet
