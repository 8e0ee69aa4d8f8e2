#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "data/registry.h"
#include "tools/commands/command.h"
#include "tools/commands/fetch.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

struct SplitCheck {
  int64_t images = 0, whole = 0;  // found, and of the complete data set
  int64_t fewest_of_class = 0, most_of_class = 0;
};

// Reads every image and label; the readers stop at what is damaged.
SplitCheck check_split(const std::string& name, const fs::path& root, Split split) {
  const auto data = open_dataset(name, root, split);
  const auto archive = dataset_archive(name);
  std::vector<int64_t> counts(static_cast<size_t>(data->classes()));
  std::vector<uint8_t> pixels(static_cast<size_t>(data->image_bytes()));
  for (int64_t i = 0; i < data->size(); ++i) {
    data->read(i, pixels);
    ++counts[static_cast<size_t>(data->label(i))];
  }
  const int64_t whole = !archive ? data->size() : split == Split::train ? archive->train_images : archive->test_images;
  return {data->size(), whole, *std::ranges::min_element(counts), *std::ranges::max_element(counts)};
}

// Prints what of a data set is there.
void check_dataset(const std::string& name, const fs::path& root, const CommandContext& context) {
  const SplitCheck train = check_split(name, root, Split::train), test = check_split(name, root, Split::test);
  const bool complete = train.images == train.whole && test.images == test.whole;
  if (context.options.json) {
    const auto json_of = [](const SplitCheck& split) {
      return nlohmann::ordered_json{{"images", split.images},
                                    {"of", split.whole},
                                    {"fewest_of_class", split.fewest_of_class},
                                    {"most_of_class", split.most_of_class}};
    };
    print_json({{"command", "data check"},
                {"dataset", name},
                {"root", root.string()},
                {"complete", complete},
                {"train", json_of(train)},
                {"test", json_of(test)}});
    return;
  }
  const auto line = [](const char* split, const SplitCheck& found) {
    return text("  ", split, ": ", found.images, " of ", found.whole, " images, ", found.fewest_of_class, " to ",
                found.most_of_class, " of each class\n");
  };
  std::cout << name << (root.empty() ? "" : " in " + root.string()) << ": "
            << (complete ? "complete" : "readable, but not all of it: an excerpt") << "\n"
            << line("train", train) << line("test", test) << std::flush;
}

// "cifar10 and cifar100"
std::string downloadable() {
  std::string names;
  for (const std::string& name : dataset_names())
    if (dataset_archive(name)) names += (names.empty() ? "" : " and ") + name;
  return names;
}

struct FetchOptions {
  std::vector<std::string> names, mirrors;
  std::string to;
  bool keep_archive = false;
};

void run_fetch(const FetchOptions& options, const CommandContext& context) {
  if (!options.mirrors.empty() && options.names.size() > 1)
    fail(ErrorCategory::usage, "--mirror is the address of one archive; fetch the data sets one by one");
  const fs::path root = resolve_data_root(options.to, "");
  const auto known = dataset_names();
  for (const std::string& name : options.names)
    if (std::ranges::find(known, name) == known.end())
      fail(ErrorCategory::usage, "data fetch ", name, ": no such data set; there are ", downloadable());
  for (const std::string& name : options.names) {
    if (dataset_archive(name) && holds_dataset(name, root)) {
      if (!context.options.quiet) std::cerr << name << ": is in " << root.string() << " already" << std::endl;
    } else {
      fetch_dataset(name, root, options.mirrors, options.keep_archive, context.options);
    }
    check_dataset(name, root, context);
  }
}

void run_check(const std::vector<std::string>& specs, const CommandContext& context) {
  const auto check = [&](const std::string& name, const fs::path& given) {
    check_dataset(name, dataset_archive(name) ? resolve_data_root(given, "") : given, context);
  };
  for (const std::string& spec : specs) {
    const DataSpec data = parse_data_spec(spec);
    check(data.name, data.root);
  }
  if (!specs.empty()) return;
  const fs::path root = resolve_data_root("", "");
  bool any = false;
  for (const std::string& name : dataset_names())
    if (dataset_archive(name) && holds_dataset(name, root)) {
      check(name, "");
      any = true;
    }
  if (!any)
    fail(ErrorCategory::input_missing, root.string(),
         ": holds no data set; get one with apotnet data fetch cifar10, or name a folder");
}

void add_fetch(CLI::App& data, CommandContext& context) {
  const auto options = std::make_shared<FetchOptions>();
  CLI::App* command = data.add_subcommand("fetch", "Download and unpack data sets: " + downloadable());
  command->add_option("NAME", options->names, downloadable())->required();
  command->add_option("--to", options->to, "Folder (default: APOTNET_DATA, else the user's cache folder)");
  command
      ->add_option("--mirror", options->mirrors, "Another address to get the archive from (repeatable: tried in order)")
      ->allow_extra_args(false);
  command->add_flag("--keep-archive", options->keep_archive, "Do not delete the archive");
  command->footer("Example: ./apotnet data fetch cifar10 --to ~/data");
  command->callback([options, &context] { run_fetch(*options, context); });
}

void add_check(CLI::App& data, CommandContext& context) {
  const auto specs = std::make_shared<std::vector<std::string>>();
  CLI::App* command = data.add_subcommand("check", "Read data sets from end to end and say whether they are complete");
  command->add_option("DATA", *specs, "A folder, or name:folder as in cifar10:DIR (default: all in the data folder)");
  command->footer("Example: ./apotnet data check cifar10:cifar-10-batches-bin");
  command->callback([specs, &context] { run_check(*specs, context); });
}

}  // namespace

void add_data(CLI::App& app, CommandContext& context) {
  CLI::App* data = app.add_subcommand("data", "Get and check data sets");
  data->require_subcommand(1);
  data->footer("Example: ./apotnet data fetch cifar10");
  add_fetch(*data, context);
  add_check(*data, context);
}

}  // namespace apotnet
