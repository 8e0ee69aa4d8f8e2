#include "data/registry.h"

#include <array>
#include <cstdlib>

#include "core/base/error.h"
#include "data/cifar.h"
#include "data/imagenet.h"
#include "data/mnist.h"
#include "data/shapes10.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

struct Entry {
  const char* name;
  DatasetInfo (*info)();
  std::shared_ptr<const Dataset> (*open)(const fs::path& root, Split split, const DatasetOptions& options);
  bool (*recognise)(const fs::path& folder);  // null where the data set has no files
  DatasetArchive (*archive)();                // null where it cannot be downloaded
};

std::shared_ptr<const Dataset> open_shapes10(const fs::path&, Split split, const DatasetOptions& options) {
  return draw_shapes10(options.seed, split, split == Split::train ? options.train_count : options.test_count);
}

// A new data set is its own file and one line here.
constexpr std::array kDatasets{
    Entry{"cifar10", cifar10_info,
          [](const fs::path& root, Split s, const DatasetOptions&) { return read_cifar10(root, s); }, holds_cifar10,
          cifar10_archive},
    Entry{"cifar100", cifar100_info,
          [](const fs::path& root, Split s, const DatasetOptions&) { return read_cifar100(root, s); }, holds_cifar100,
          cifar100_archive},
    Entry{"imagenet", imagenet_info,
          [](const fs::path& root, Split s, const DatasetOptions& o) { return read_imagenet(root, s, o.pictures); },
          holds_imagenet, nullptr},
    Entry{"mnist", mnist_info, [](const fs::path& root, Split s, const DatasetOptions&) { return read_mnist(root, s); },
          holds_mnist, nullptr},
    Entry{"shapes10", shapes10_info, open_shapes10, nullptr, nullptr},
};

const Entry* find(const std::string& name) {
  for (const Entry& entry : kDatasets)
    if (name == entry.name) return &entry;
  return nullptr;
}

std::string known_names() {
  std::string names;
  for (const Entry& entry : kDatasets) names += (names.empty() ? "" : ", ") + std::string(entry.name);
  return names;
}

const Entry& find_configured(const std::string& name) {
  if (const Entry* entry = find(name)) return *entry;
  fail(ErrorCategory::configuration, "data.name: no data set ", name, "; there are ", known_names());
}

std::string environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

}  // namespace

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kDatasets) names.emplace_back(entry.name);
  return names;
}

DataSpec parse_data_spec(const std::string& spec) {
  if (spec.empty())
    fail(ErrorCategory::usage, "--data: empty; give NAME, NAME:DIR or DIR with NAME one of ", known_names());
  if (find(spec)) return {spec, {}};
  std::error_code ignored;
  const size_t colon = spec.find(':');
  if (colon != std::string::npos && !fs::exists(spec, ignored)) {
    const std::string name = spec.substr(0, colon), root = spec.substr(colon + 1);
    if (!find(name)) fail(ErrorCategory::usage, "--data ", spec, ": no data set ", name, "; there are ", known_names());
    if (root.empty()) fail(ErrorCategory::usage, "--data ", spec, ": no folder after the colon; give ", name, ":DIR");
    return {name, root};
  }
  if (!fs::is_directory(spec, ignored))
    fail(ErrorCategory::input_missing, "--data ", spec, ": neither a folder nor one of ", known_names());
  for (const Entry& entry : kDatasets)
    if (entry.recognise && entry.recognise(spec)) return {entry.name, spec};
  fail(ErrorCategory::input_missing, "--data ", spec, ": the folder holds none of ", known_names(),
       "; give NAME:DIR to see what is missing");
}

fs::path resolve_data_root(const fs::path& given, const fs::path& configured) {
  if (!given.empty()) return given;
  if (!configured.empty()) return configured;
  if (const std::string root = environment("APOTNET_DATA"); !root.empty()) return root;
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return fs::path(cache) / "apotnet";
  if (const std::string home = environment("HOME"); !home.empty()) return fs::path(home) / ".cache/apotnet";
  fail(ErrorCategory::input_missing, "no folder for data: set APOTNET_DATA or give --data NAME:DIR");
}

std::shared_ptr<const Dataset> open_dataset(const std::string& name, const fs::path& root, Split split,
                                            const DatasetOptions& options) {
  return find_configured(name).open(root, split, options);
}

bool has_files(const std::string& name) { return find_configured(name).recognise; }

std::optional<DatasetArchive> dataset_archive(const std::string& name) {
  const Entry& entry = find_configured(name);
  return entry.archive ? std::optional(entry.archive()) : std::nullopt;
}

bool holds_dataset(const std::string& name, const fs::path& root) {
  const Entry& entry = find_configured(name);
  return !entry.recognise || entry.recognise(root);
}

DatasetInfo dataset_info(const std::string& name) { return find_configured(name).info(); }

}  // namespace apotnet
