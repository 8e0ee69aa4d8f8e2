#include "data/registry.h"

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "core/base/error.h"
#include "data/cifar.h"
#include "data/shapes10.h"

namespace apotnet {
namespace {

struct Entry {
  std::string name;
  std::function<std::shared_ptr<Dataset>(const std::string& root, Split, const DataOptions&)> open;
  std::function<bool(const std::string& folder)> holds;
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{
      {"cifar10", [](const std::string& root, Split split, const DataOptions&) { return open_cifar10(root, split); },
       holds_cifar10},
      {"cifar100", [](const std::string& root, Split split, const DataOptions&) { return open_cifar100(root, split); },
       holds_cifar100},
      {"shapes10",
       [](const std::string&, Split split, const DataOptions& options) {
         return make_shapes10(split, split == Split::train ? options.train_count : options.test_count, options.seed);
       },
       [](const std::string&) { return false; }}};
  return all;
}

const Entry* find_entry(const std::string& name) {
  for (const Entry& entry : entries())
    if (entry.name == name) return &entry;
  return nullptr;
}

std::string default_root() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (const std::string root = variable("APOTNET_DATA"); !root.empty()) return root;
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache + "/apotnet";
  return variable("HOME") + "/.cache/apotnet";
}

}  // namespace

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) names.push_back(entry.name);
  return names;
}

DataSpec parse_data_spec(const std::string& spec) {
  const size_t colon = spec.find(':');
  if (colon != std::string::npos && find_entry(spec.substr(0, colon)))
    return {spec.substr(0, colon), spec.substr(colon + 1)};
  if (find_entry(spec)) return {spec, ""};
  if (colon != std::string::npos && !std::filesystem::exists(spec))
    fail(ErrorCategory::usage, "--data ", spec, ": unknown data set \"", spec.substr(0, colon),
         "\"; known are cifar10, cifar100 and shapes10");
  return {"", spec};
}

std::shared_ptr<Dataset> open_dataset(const DataSpec& spec, Split split, const DataOptions& options) {
  const std::string root = spec.root.empty() ? default_root() : spec.root;
  if (!spec.name.empty()) {
    const Entry* entry = find_entry(spec.name);
    if (!entry)
      fail(ErrorCategory::usage, "unknown data set \"", spec.name, "\"; known are cifar10, cifar100 and shapes10");
    return entry->open(root, split, options);
  }
  for (const Entry& entry : entries())
    if (entry.holds(root)) return entry.open(root, split, options);
  fail(ErrorCategory::input_missing, root, ": no data set of a known kind in this folder; give --data cifar10:", root,
       " or --data cifar100:", root);
}

}  // namespace apotnet
