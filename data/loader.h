#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "core/tensor/tensor.h"
#include "data/augment.h"
#include "data/dataset.h"

namespace apotnet {

/// What a batch brings of its images.
enum class BatchContent {
  images,      ///< the images as a network takes them
  placements,  ///< how a device makes them, which holds the data set
  pixels,      ///< how a device makes them, and the pixels that it makes them of
};

struct Batch {
  Tensor images;       ///< [N, H, W, C] f32, normalised
  Tensor pixels;       ///< [N, H, W, C] u8: as read and cut, neither padded nor mirrored
  Tensor labels;       ///< [N] s32
  Tensor placements;   ///< s32 [N, 4] of sample (of the data set, or of the pixels), top, left, mirrored
  int64_t epoch = 0;   ///< from 0
  int64_t number = 0;  ///< of the batch in its epoch, from 0
  int64_t first = 0;   ///< place of its first image in the epoch's order: number * batch size
};

struct LoaderOptions {
  int64_t batch = 128;  ///< images per batch; an epoch's last batch has what is left
  bool shuffle = false;
  Augmentation augmentation{};
  uint64_t seed = 0;  ///< of shuffle and augmentation
  int workers = 1;    ///< threads that prepare batches; 0: next() does it itself
  int prefetch = 4;   ///< batches that may be ready before they are asked for
  BatchContent content = BatchContent::images;
};

/// Of an epoch of `images`, the last smaller one counted.
constexpr int64_t batches_of(int64_t images, int64_t batch) { return (images + batch - 1) / batch; }

/// A point of a training: `batch` batches of epoch `epoch` are done.
struct LoaderPosition {
  int64_t epoch = 0, batch = 0;
};

/// Delivers the batches of one or more epochs strictly in order, prepared ahead by worker threads. A batch is a
/// function of (data set, options, epoch, number): neither the number of workers nor the starting point changes a bit.
class Loader {
 public:
  /// From `start` to the end of epoch `end_epoch - 1`; by default of the epoch of `start`.
  /// Error(configuration) for an empty data set or a batch size below 1, Error(internal) for a start past its epoch.
  Loader(std::shared_ptr<const Dataset> dataset, LoaderOptions options, LoaderPosition start = {},
         std::optional<int64_t> end_epoch = {});
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch, nothing after the last. What a worker threw is rethrown in place of its batch, and from then on.
  std::optional<Batch> next();

  const Dataset& dataset() const { return *dataset_; }

 private:
  using Order = std::shared_ptr<const std::vector<int64_t>>;
  struct Result {
    Batch batch;
    std::exception_ptr failure;
  };

  void work(const std::stop_token& stop);
  Order order_of(int64_t epoch);
  Batch make(int64_t epoch, int64_t number, const std::vector<int64_t>& order) const;
  std::span<const uint8_t> pixels_of(int64_t sample, int64_t epoch, std::span<uint8_t> room) const;

  const std::shared_ptr<const Dataset> dataset_;
  const LoaderOptions options_;
  const Normaliser normalise_;
  int64_t batches_per_epoch_ = 0;

  // Batches are numbered through the epochs: ticket = epoch * batches_per_epoch + number.
  std::mutex mutex_;
  std::condition_variable_any room_, ready_;
  int64_t claimed_ = 0, delivered_ = 0, end_ = 0;  // next ticket to prepare, next to deliver, past the last
  std::map<int64_t, Result> results_;              // prepared and not yet taken
  Order order_;
  int64_t order_epoch_ = -1;
  std::vector<std::jthread> workers_;  // last: stopped and joined before the rest goes
};

}  // namespace apotnet
