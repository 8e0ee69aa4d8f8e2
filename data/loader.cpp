#include "data/loader.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "data/sampler.h"

namespace apotnet {

Loader::Loader(std::shared_ptr<const Dataset> dataset, const LoaderSettings& settings)
    : dataset_(std::move(dataset)), settings_(settings), normaliser_(dataset_->normalisation()) {
  require(dataset_->channels() == 3, "images of ", dataset_->channels(), " channels; the loader knows colour images");
  require(settings_.batch > 0 && settings_.workers > 0 && settings_.prefetch > 0,
          "a loader of no batch, worker or room");
}

Loader::~Loader() { stop(); }

int64_t Loader::batches_per_epoch() const { return (dataset_->size() + settings_.batch - 1) / settings_.batch; }

void Loader::start(uint32_t epoch, int64_t first_batch) {
  stop();
  epoch_ = epoch;
  if (settings_.shuffle) {
    order_ = shuffled_order(dataset_->size(), settings_.seed, epoch);
  } else {
    order_.resize(static_cast<size_t>(dataset_->size()));
    std::iota(order_.begin(), order_.end(), 0);
  }
  next_to_prepare_ = next_to_take_ = first_batch;
  stopping_ = false;
  for (int i = 0; i < settings_.workers; ++i) workers_.emplace_back([this] { work(); });
}

void Loader::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  room_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  waiting_.clear();
  failure_ = nullptr;
}

void Loader::work() {
  const int64_t batches = batches_per_epoch();
  for (;;) {
    int64_t number = 0;
    {
      std::unique_lock lock(mutex_);
      room_.wait(lock, [&] { return stopping_ || next_to_prepare_ < next_to_take_ + settings_.prefetch; });
      if (stopping_ || failure_ || next_to_prepare_ >= batches) return;
      number = next_to_prepare_++;
    }
    try {
      Batch batch = prepare(number);
      std::lock_guard lock(mutex_);
      waiting_.emplace(number, std::move(batch));
    } catch (...) {
      std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
    ready_.notify_all();
  }
}

std::optional<Batch> Loader::next() {
  std::unique_lock lock(mutex_);
  if (next_to_take_ >= batches_per_epoch()) return std::nullopt;
  require(!workers_.empty(), "a batch was asked of a loader before start()");
  ready_.wait(lock, [&] { return failure_ || waiting_.contains(next_to_take_); });
  if (failure_) std::rethrow_exception(failure_);
  Batch batch = std::move(waiting_.extract(next_to_take_).mapped());
  ++next_to_take_;
  lock.unlock();
  room_.notify_all();
  return batch;
}

Batch Loader::prepare(int64_t number) const {
  const int64_t first = number * settings_.batch, count = std::min(settings_.batch, dataset_->size() - first);
  const int64_t h = dataset_->height(), w = dataset_->width(), c = dataset_->channels();
  Batch batch{Tensor({count, h, w, c}, DType::f32), Tensor({count}, DType::s32), number};
  const auto pixels = batch.images.data<float>();
  const auto labels = batch.labels.data<int32_t>();
  const auto per_image = static_cast<size_t>(h * w * c);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t index = order_[static_cast<size_t>(first + i)];
    labels[static_cast<size_t>(i)] = dataset_->label(index);
    augment_and_normalise(dataset_->image(index), h, w, normaliser_, settings_.augmentation, settings_.seed, epoch_,
                          static_cast<uint32_t>(dataset_->sample_id(index)),
                          pixels.subspan(static_cast<size_t>(i) * per_image, per_image));
  }
  return batch;
}

}  // namespace apotnet
