#pragma once

#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/tensor/tensor.h"
#include "data/augment.h"
#include "data/dataset.h"

namespace apotnet {

struct Batch {
  Tensor images;       ///< f32 [N, H, W, C], normalised
  Tensor labels;       ///< s32 [N]
  int64_t number = 0;  ///< in the epoch, from 0
};

struct LoaderSettings {
  int64_t batch = 128;
  bool shuffle = false;  ///< else the order of the data
  Augmentation augmentation = {};
  uint64_t seed = 1;
  int workers = 1;   ///< threads that prepare batches
  int prefetch = 4;  ///< batches that may wait to be taken
};

/// Prepares batches ahead on threads of its own and hands them out in order. The same bits come out for any number of
/// workers.
class Loader {
 public:
  Loader(std::shared_ptr<const Dataset> dataset, const LoaderSettings& settings);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The last one may be smaller.
  int64_t batches_per_epoch() const;
  /// Begins an epoch, or goes on in its middle; batches of an epoch before that were not taken are dropped.
  void start(uint32_t epoch, int64_t first_batch = 0);
  /// The next batch; empty at the end of the epoch. An exception of a worker is thrown here.
  std::optional<Batch> next();

 private:
  void work();
  void stop();
  Batch prepare(int64_t number) const;

  std::shared_ptr<const Dataset> dataset_;
  LoaderSettings settings_;
  Normaliser normaliser_;
  uint32_t epoch_ = 0;
  std::vector<int64_t> order_;

  std::mutex mutex_;
  std::condition_variable room_, ready_;
  std::map<int64_t, Batch> waiting_;
  int64_t next_to_prepare_ = 0, next_to_take_ = 0;
  std::exception_ptr failure_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace apotnet
