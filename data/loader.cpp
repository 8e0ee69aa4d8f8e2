#include "data/loader.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "data/sampler.h"

namespace apotnet {
namespace {

// A shuffled order jumps where no processor foresees it, and waiting for memory costs more than the work itself.
void prefetch([[maybe_unused]] std::span<const uint8_t> bytes) {
#if defined(__GNUC__)
  for (size_t i = 0; i < bytes.size(); i += 64) __builtin_prefetch(bytes.data() + i);
#endif
}

}  // namespace

Loader::Loader(std::shared_ptr<const Dataset> dataset, LoaderOptions options, LoaderPosition start,
               std::optional<int64_t> end_epoch)
    : dataset_(std::move(dataset)), options_(options), normalise_(dataset_->info().mean, dataset_->info().std) {
  if (options_.batch < 1) fail(ErrorCategory::configuration, "batch size ", options_.batch, ": give at least 1");
  if (dataset_->size() < 1)
    fail(ErrorCategory::configuration, dataset_->name(), " ", dataset_->split_name(), ": no images to load");
  require(options_.workers >= 0 && options_.augmentation.pad >= 0, "loader: negative workers or padding");
  batches_per_epoch_ = batches_of(dataset_->size(), options_.batch);
  require(start.epoch >= 0 && start.batch >= 0 && start.batch <= batches_per_epoch_, "loader: start at epoch ",
          start.epoch, ", batch ", start.batch, " of ", batches_per_epoch_);
  claimed_ = delivered_ = start.epoch * batches_per_epoch_ + start.batch;
  end_ = end_epoch.value_or(start.epoch + 1) * batches_per_epoch_;
  try {
    for (int i = 0; i < options_.workers; ++i)
      workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  } catch (const std::system_error&) {
    // The system gives no more threads: those made do the work, or without any next() does it itself.
  }
}

std::optional<Batch> Loader::next() {
  std::unique_lock lock(mutex_);
  if (delivered_ >= end_) return {};
  if (workers_.empty()) {
    const int64_t epoch = delivered_ / batches_per_epoch_;
    Batch batch = make(epoch, delivered_ % batches_per_epoch_, *order_of(epoch));
    ++delivered_;
    return batch;
  }
  ready_.wait(lock, [this] { return results_.contains(delivered_); });
  const auto result = results_.find(delivered_);
  if (result->second.failure) std::rethrow_exception(result->second.failure);
  Batch batch = std::move(result->second.batch);
  results_.erase(result);
  ++delivered_;
  lock.unlock();
  room_.notify_one();
  return batch;
}

void Loader::work(const std::stop_token& stop) {
  const int64_t ahead = std::max(1, options_.prefetch);
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool running = room_.wait(lock, stop, [&] { return claimed_ >= end_ || claimed_ < delivered_ + ahead; });
    if (!running || stop.stop_requested() || claimed_ >= end_) return;
    const int64_t ticket = claimed_++;
    if (claimed_ == end_) room_.notify_all();  // the others have nothing left to wait for
    const int64_t epoch = ticket / batches_per_epoch_;
    const Order order = order_of(epoch);
    lock.unlock();
    Result result;
    try {
      result.batch = make(epoch, ticket % batches_per_epoch_, *order);
    } catch (...) {
      result.failure = std::current_exception();
    }
    lock.lock();
    results_.emplace(ticket, std::move(result));
    ready_.notify_one();
  }
}

// Tickets are claimed in order, so the order of one epoch is all that is ever kept. Called with the lock held.
Loader::Order Loader::order_of(int64_t epoch) {
  if (order_epoch_ != epoch) {
    const int64_t count = dataset_->size();
    order_ = std::make_shared<const std::vector<int64_t>>(options_.shuffle ? shuffled_order(count, options_.seed, epoch)
                                                                           : sequential_order(count));
    order_epoch_ = epoch;
  }
  return order_;
}

Batch Loader::make(int64_t epoch, int64_t number, const std::vector<int64_t>& order) const {
  const int height = dataset_->height(), width = dataset_->width(), channels = dataset_->channels();
  const int64_t first = number * options_.batch;
  const int64_t count = std::min(options_.batch, dataset_->size() - first);
  const size_t image_size = static_cast<size_t>(dataset_->image_bytes());
  const Shape shape{count, height, width, channels};
  const bool finished = options_.content == BatchContent::images,
             brings_pixels = options_.content == BatchContent::pixels;
  Batch batch;
  batch.labels = Tensor({count}, DType::s32);
  if (finished)
    batch.images = Tensor(shape, DType::f32);
  else
    batch.placements = Tensor({count, 4}, DType::s32);
  if (brings_pixels) batch.pixels = Tensor(shape, DType::u8);
  batch.epoch = epoch, batch.number = number, batch.first = first;
  const auto samples = std::span(order).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  std::vector<uint8_t> room(finished ? image_size : 0);
  for (size_t i = 0; i < samples.size(); ++i) {
    const Placement place = draw_placement(options_.augmentation, options_.seed, epoch, samples[i]);
    batch.labels.data<int32_t>()[i] = dataset_->label(samples[i]);
    if (finished) {
      if (i + 1 < samples.size()) prefetch(dataset_->view(samples[i + 1]));
      place_and_normalise(pixels_of(samples[i], epoch, room), height, width, options_.augmentation.pad, place,
                          normalise_, batch.images.data<float>().subspan(i * image_size, image_size));
      continue;
    }
    const int32_t row[] = {static_cast<int32_t>(brings_pixels ? static_cast<int64_t>(i) : samples[i]), place.top,
                           place.left, place.mirror};
    std::ranges::copy(row, &batch.placements.data<int32_t>()[4 * i]);
    if (!brings_pixels) continue;
    const auto pixels = batch.pixels.data<uint8_t>().subspan(i * image_size, image_size);
    if (const auto bytes = pixels_of(samples[i], epoch, pixels); bytes.data() != pixels.data())
      std::ranges::copy(bytes, pixels.begin());
  }
  return batch;
}

// The bytes of an image in place, or in `room` where they are not held in memory.
std::span<const uint8_t> Loader::pixels_of(int64_t sample, int64_t epoch, std::span<uint8_t> room) const {
  if (options_.augmentation.cut == Cut::centre)
    if (const auto bytes = dataset_->view(sample); !bytes.empty()) return bytes;
  const Philox random(options_.seed, RandomStream::cut, static_cast<uint32_t>(epoch), static_cast<uint32_t>(sample));
  dataset_->read_cut(sample, options_.augmentation.cut, random, room);
  return room;
}

}  // namespace apotnet
