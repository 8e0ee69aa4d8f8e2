#include "tools/training/run_data.h"

#include <algorithm>

#include "core/base/error.h"

namespace apotnet {

namespace fs = std::filesystem;

DatasetOptions dataset_options(const RunConfig& run) {
  const DataConfig& data = run.data;
  return {.seed = static_cast<uint64_t>(run.seed),
          .train_count = data.train_count,
          .test_count = data.test_count,
          .pictures = {.geometry = {static_cast<int>(data.image_size), static_cast<int>(data.resized_side)},
                       .replace_damaged = data.damaged == "replace",
                       .refuse_other_files = data.other_files == "error"}};
}

std::shared_ptr<const Dataset> open_run_split(const RunConfig& run, Split split) {
  const fs::path root = resolve_data_root("", run.data.root);
  const auto dataset = open_dataset(run.data.name, root, split, dataset_options(run));
  const int64_t limit = split == Split::train ? run.data.train_limit : run.data.test_limit;
  return limit > 0 ? take_first(dataset, limit) : dataset;
}

RunData open_run_data(const RunConfig& run) {
  RunData data{.train = open_run_split(run, Split::train), .validation = {}, .test = open_run_split(run, Split::test)};
  data.validation = data.test;
  if (data.train->class_names() != data.test->class_names())
    fail(ErrorCategory::configuration, run.data.name, ": the ", data.train->classes(), " classes of train and the ",
         data.test->classes(), " of ", data.test->split_name(), " are not the same; check the class folders");
  // One image as training reads it: what the data set refuses is found before a run begins.
  const Cut cut = loader_options(run).augmentation.cut;
  std::vector<uint8_t> pixels(static_cast<size_t>(data.train->image_bytes()));
  if (cut != Cut::centre) data.train->read_cut(0, cut, Philox(0, RandomStream::cut), pixels);
  if (run.data.validation > 0) {
    const TrainValidation parts = split_validation(data.train, run.data.validation, static_cast<uint64_t>(run.seed));
    data.train = parts.train;
    data.validation = parts.validation;
  }
  return data;
}

LoaderOptions loader_options(const RunConfig& run) {
  const auto has = [&](const char* name) {
    return std::ranges::find(run.data.augment, name) != run.data.augment.end();
  };
  const Cut cut = has("random_crop")           ? Cut::random_crop
                  : has("random_resized_crop") ? Cut::random_resized_crop
                                               : Cut::centre;
  return {.batch = run.data.batch / run.data.accumulate,
          .shuffle = true,
          .augmentation = {.pad = has("pad_crop") ? 4 : 0, .flip = has("flip"), .cut = cut},
          .seed = static_cast<uint64_t>(run.seed),
          .workers = static_cast<int>(run.data.workers)};
}

}  // namespace apotnet
