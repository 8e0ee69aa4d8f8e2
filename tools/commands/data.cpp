#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "data/imagenet.h"
#include "data/picture_index.h"
#include "data/registry.h"
#include "tools/commands/command.h"
#include "tools/commands/fetch.h"
#include "tools/training/interrupt.h"

namespace apotnet {
namespace {

namespace fs = std::filesystem;

struct SplitCheck {
  int64_t images = 0, whole = 0;  // found, and of the complete data set
  int64_t fewest_of_class = 0, most_of_class = 0;
  std::string remark;
};

// What does not let itself be read, in the order of the images. All of it is wanted, so that it is mended at once.
class Damages {
 public:
  void add(int64_t image, const Error& error) {
    const std::scoped_lock lock(mutex_);
    found_.emplace(image, error);
  }
  /// Throws the last one, if there is any, and brings the others' lines to stderr before.
  void report() {
    if (found_.empty()) return;
    const Error last = found_.extract(std::prev(found_.end())).mapped();
    for (const auto& [image, error] : found_) std::cerr << "apotnet: error: " << error.what() << std::endl;
    throw last;
  }

 private:
  std::mutex mutex_;
  std::map<int64_t, Error> found_;
};

// Reads every image and label.
SplitCheck check_split(const std::string& name, const fs::path& root, Split split) {
  const auto data = open_dataset(name, root, split, {.pictures = {.geometry = {}, .as_indexed = true}});
  const auto archive = dataset_archive(name);
  std::vector<int64_t> counts(static_cast<size_t>(data->classes()));
  for (int64_t i = 0; i < data->size(); ++i) ++counts[static_cast<size_t>(data->label(i))];
  Damages damages;
  parallel_for(data->size(), [&](int64_t i) {
    std::vector<uint8_t> pixels(static_cast<size_t>(data->image_bytes()));
    try {
      data->read(i, pixels);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::damaged_data && error.category() != ErrorCategory::input_missing) throw;
      damages.add(i, error);
    }
  });
  damages.report();
  const int64_t whole = !archive ? data->size() : split == Split::train ? archive->train_images : archive->test_images;
  return {data->size(), whole, *std::ranges::min_element(counts), *std::ranges::max_element(counts), data->remark()};
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
                                    {"most_of_class", split.most_of_class},
                                    {"remark", split.remark}};
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
                found.most_of_class, " of each class\n", found.remark.empty() ? "" : "    " + found.remark + "\n");
  };
  std::cout << name << (root.empty() ? "" : " in " + root.string()) << ": "
            << (!complete                                   ? "readable, but not all of it: an excerpt"
                : has_files(name) && !dataset_archive(name) ? "readable from end to end"
                                                            : "complete")
            << "\n"
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
    check_dataset(name, has_files(name) ? resolve_data_root(given, "") : given, context);
  };
  for (const std::string& spec : specs) {
    const DataSpec data = parse_data_spec(spec);
    check(data.name, data.root);
  }
  if (!specs.empty()) return;
  const fs::path root = resolve_data_root("", "");
  bool any = false;
  for (const std::string& name : dataset_names())
    if (has_files(name) && holds_dataset(name, root)) {
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
  add_thread_option(*command, context);
  command->footer("Example: ./apotnet data fetch cifar10 --to ~/data");
  command->callback([options, &context] {
    apply_compute_options(context.options);
    run_fetch(*options, context);
  });
}

void add_check(CLI::App& data, CommandContext& context) {
  const auto specs = std::make_shared<std::vector<std::string>>();
  CLI::App* command = data.add_subcommand("check", "Read data sets from end to end and say whether they are complete");
  command->add_option("DATA", *specs, "A folder, or name:folder as in cifar10:DIR (default: all in the data folder)");
  add_thread_option(*command, context);
  command->footer("Example: ./apotnet data check cifar10:cifar-10-batches-bin");
  command->callback([specs, &context] {
    apply_compute_options(context.options);
    run_check(*specs, context);
  });
}

struct IndexOptions {
  std::string spec, to;
  int resized = PictureGeometry{}.resized;
  bool replace_damaged = false;
};

// Both splits, or the one that is there; what is missing is told.
std::vector<PictureSplit> splits_of(const fs::path& root) {
  std::vector<PictureSplit> splits;
  std::optional<Error> missing;
  for (const Split split : {Split::train, Split::test}) try {
      splits.push_back(imagenet_split(root, split));
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::input_missing) throw;
      if (missing) throw *missing;
      missing = error;
    }
  if (missing)
    std::cerr << "apotnet: warning: " << splits[0].folder.string() << " is indexed alone: " << missing->what()
              << std::endl;
  return splits;
}

void run_index(const IndexOptions& options, const CommandContext& context) {
  const DataSpec data = parse_data_spec(options.spec);
  if (data.name != "imagenet")
    fail(ErrorCategory::usage, "data index ", options.spec, ": ", data.name,
         " is no data set of picture files; give imagenet:DIR");
  const fs::path root = resolve_data_root(data.root, "");
  watch_for_interrupt();
  for (const PictureSplit& files : splits_of(root)) {
    stop_if_interrupted();  // while the other one's file was finished
    const PictureFolder pictures(files.folder, {.geometry = {}, .replace_damaged = options.replace_damaged});
    const fs::path file = options.to.empty() ? files.cache : fs::path(options.to) / files.cache.filename();
    std::error_code failure;
    if (!options.to.empty()) fs::create_directories(options.to, failure);
    const bool quiet = context.options.quiet;
    auto said = std::chrono::steady_clock::now();
    write_picture_index(file, pictures, options.resized, [&](int64_t done) {
      stop_if_interrupted();
      const auto now = std::chrono::steady_clock::now();
      if (quiet || (now - said < std::chrono::seconds(10) && done < pictures.size())) return;
      said = now;
      std::cerr << "apotnet: " << file.string() << ": " << done << " of " << pictures.size() << " pictures"
                << std::endl;
    });
    const std::string remark = pictures.remark();
    if (context.options.json)
      print_json({{"command", "data index"},
                  {"file", file.string()},
                  {"pictures", pictures.size()},
                  {"classes", pictures.class_names().size()},
                  {"bytes", fs::file_size(file, failure)},
                  {"remark", remark}});
    else
      std::cout << file.string() << ": " << pictures.size() << " pictures of " << pictures.class_names().size()
                << " classes\n"
                << (remark.empty() ? "" : "  " + remark + "\n") << std::flush;
  }
}

void add_index(CLI::App& data, CommandContext& context) {
  const auto options = std::make_shared<IndexOptions>();
  CLI::App* command = data.add_subcommand(
      "index", "Decode and resize all pictures of a data set once, for faster epochs: train.pictures, val.pictures");
  command->add_option("DATA", options->spec, "imagenet:DIR with the folders train and val in it")->required();
  command->add_option("--to", options->to,
                      "Folder of the files (default: DIR itself); it can then stand in place of DIR");
  command->add_option("--resized-side", options->resized, "Shorter side of the pictures in it (default: 256)")
      ->check(CLI::Range(32, 1024));
  command->add_flag("--replace-damaged", options->replace_damaged,
                    "Take another picture of the class for one that cannot be decoded, and say so");
  add_thread_option(*command, context);
  command->footer("Example: ./apotnet data index imagenet:/data/imagenet --to /fast/imagenet");
  command->callback([options, &context] {
    apply_compute_options(context.options);
    try {
      run_index(*options, context);
    } catch (const Interrupted&) {  // the file in making is gone
      std::cerr << "apotnet: interrupted; of a file that was begun nothing is left\n";
      context.exit_code = 128 + interrupted();
    }
    stop_watching();
  });
}

}  // namespace

void add_data(CLI::App& app, CommandContext& context) {
  CLI::App* data = app.add_subcommand("data", "Get and check data sets");
  data->require_subcommand(1);
  data->footer("Example: ./apotnet data fetch cifar10");
  add_fetch(*data, context);
  add_check(*data, context);
  add_index(*data, context);
}

}  // namespace apotnet
