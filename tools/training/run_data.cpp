#include "tools/training/run_data.h"

#include <algorithm>

#include "data/registry.h"

namespace apotnet {

std::shared_ptr<const Dataset> open_run_split(const RunConfig& run, Split split) {
  const DatasetOptions generated{static_cast<uint64_t>(run.seed), run.data.train_count, run.data.test_count};
  const auto dataset = open_dataset(run.data.name, resolve_data_root("", run.data.root), split, generated);
  const int64_t limit = split == Split::train ? run.data.train_limit : run.data.test_limit;
  return limit > 0 ? take_first(dataset, limit) : dataset;
}

RunData open_run_data(const RunConfig& run) {
  RunData data{.train = open_run_split(run, Split::train), .validation = {}, .test = open_run_split(run, Split::test)};
  data.validation = data.test;
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
  return {.batch = run.data.batch,
          .shuffle = true,
          .augmentation = {.pad = has("pad_crop") ? 4 : 0, .flip = has("flip")},
          .seed = static_cast<uint64_t>(run.seed),
          .workers = static_cast<int>(run.data.workers)};
}

}  // namespace apotnet
