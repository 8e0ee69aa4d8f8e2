#include "data/dataset.h"

#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/sampler.h"

namespace apotnet {
namespace {

DatasetInfo with_split(DatasetInfo info, std::string split_name) {
  info.split_name = std::move(split_name);
  return info;
}

}  // namespace

std::string_view name_of(Split split) { return split == Split::train ? "train" : "test"; }

Dataset::Dataset(DatasetInfo info) : info_(std::move(info)) {
  const size_t channels = static_cast<size_t>(info_.channels);
  require(info_.height > 0 && info_.width > 0 && info_.channels > 0, info_.name, ": empty image size");
  require(info_.mean.size() == channels && info_.std.size() == channels, info_.name, ": one mean and std per channel");
}

void Dataset::read_cut(int64_t index, Cut cut, Philox, std::span<uint8_t> hwc) const {
  if (cut != Cut::centre)
    fail(ErrorCategory::configuration,
         "data.augment: random_crop and random_resized_crop are for pictures larger than "
         "the network's input; ",
         name(), " has ", height(), " x ", width(), " images: use pad_crop");
  read(index, hwc);
}

MemoryDataset::MemoryDataset(DatasetInfo info, std::vector<uint8_t> images, std::vector<uint8_t> labels)
    : Dataset(std::move(info)), images_(std::move(images)), labels_(std::move(labels)) {
  require(images_.size() == labels_.size() * static_cast<size_t>(image_bytes()), name(), ": ", labels_.size(),
          " labels for ", images_.size(), " bytes of images");
}

void MemoryDataset::read(int64_t index, std::span<uint8_t> hwc) const {
  require(static_cast<int64_t>(hwc.size()) == image_bytes(), name(), ": room for ", hwc.size(), " bytes");
  std::ranges::copy(view(index), hwc.begin());
}

std::span<const uint8_t> MemoryDataset::view(int64_t index) const {
  require(index >= 0 && index < size(), name(), ": image ", index, " of ", size());
  const auto bytes = static_cast<size_t>(image_bytes());
  return std::span(images_).subspan(static_cast<size_t>(index) * bytes, bytes);
}

int MemoryDataset::label(int64_t index) const {
  require(index >= 0 && index < size(), name(), ": label ", index, " of ", size());
  return labels_[static_cast<size_t>(index)];
}

Subset::Subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices, std::string split_name)
    : Dataset(with_split(whole->info(), std::move(split_name))),
      whole_(std::move(whole)),
      indices_(std::move(indices)) {
  for (const int64_t index : indices_)
    require(index >= 0 && index < whole_->size(), name(), ": subset takes image ", index, " of ", whole_->size());
}

void Subset::read(int64_t index, std::span<uint8_t> hwc) const {
  require(index >= 0 && index < size(), name(), ": image ", index, " of ", size());
  whole_->read(indices_[static_cast<size_t>(index)], hwc);
}

void Subset::read_cut(int64_t index, Cut cut, Philox random, std::span<uint8_t> hwc) const {
  require(index >= 0 && index < size(), name(), ": image ", index, " of ", size());
  whole_->read_cut(indices_[static_cast<size_t>(index)], cut, random, hwc);
}

std::span<const uint8_t> Subset::view(int64_t index) const {
  require(index >= 0 && index < size(), name(), ": image ", index, " of ", size());
  return whole_->view(indices_[static_cast<size_t>(index)]);
}

int Subset::label(int64_t index) const {
  require(index >= 0 && index < size(), name(), ": label ", index, " of ", size());
  return whole_->label(indices_[static_cast<size_t>(index)]);
}

std::shared_ptr<const Dataset> take_first(const std::shared_ptr<const Dataset>& whole, int64_t count) {
  require(count >= 0, "take_first: count ", count);
  if (count >= whole->size()) return whole;
  return std::make_shared<Subset>(whole, sequential_order(count), whole->split_name());
}

TrainValidation split_validation(const std::shared_ptr<const Dataset>& whole, int64_t count, uint64_t seed) {
  if (count < 0 || count >= whole->size())
    fail(ErrorCategory::configuration, "data.validation: ", whole->name(), " has ", whole->size(), " ",
         whole->split_name(), " images, so hold out 0 to ", whole->size() - 1, " of them, not ", count);
  std::vector<int64_t> order = sequential_order(whole->size());
  shuffle(order, Philox(seed, RandomStream::split));
  const auto cut = order.begin() + count;
  std::sort(order.begin(), cut);
  std::sort(cut, order.end());
  return {std::make_shared<Subset>(whole, std::vector(cut, order.end()), whole->split_name()),
          std::make_shared<Subset>(whole, std::vector(order.begin(), cut), "validation")};
}

}  // namespace apotnet
