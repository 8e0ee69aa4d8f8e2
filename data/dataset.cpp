#include "data/dataset.h"

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/sampler.h"

namespace apotnet {
namespace {

class Subset : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices)
      : whole_(std::move(whole)), indices_(std::move(indices)) {
    for (const int64_t index : indices_)
      require(index >= 0 && index < whole_->size(), "image ", index, " of a data set of ", whole_->size());
  }
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  int64_t classes() const override { return whole_->classes(); }
  int64_t height() const override { return whole_->height(); }
  int64_t width() const override { return whole_->width(); }
  int64_t channels() const override { return whole_->channels(); }
  const std::vector<std::string>& class_names() const override { return whole_->class_names(); }
  Normalisation normalisation() const override { return whole_->normalisation(); }
  const std::string& name() const override { return whole_->name(); }
  std::span<const uint8_t> image(int64_t index) const override { return whole_->image(at(index)); }
  int32_t label(int64_t index) const override { return whole_->label(at(index)); }
  int64_t sample_id(int64_t index) const override { return whole_->sample_id(at(index)); }

 private:
  int64_t at(int64_t index) const { return indices_[static_cast<size_t>(index)]; }

  std::shared_ptr<const Dataset> whole_;
  std::vector<int64_t> indices_;
};

}  // namespace

std::shared_ptr<Dataset> subset(std::shared_ptr<const Dataset> whole, std::vector<int64_t> indices) {
  return std::make_shared<Subset>(std::move(whole), std::move(indices));
}

std::shared_ptr<Dataset> first_samples(std::shared_ptr<const Dataset> whole, int64_t count) {
  std::vector<int64_t> indices(static_cast<size_t>(std::min(count, whole->size())));
  std::iota(indices.begin(), indices.end(), 0);
  return subset(std::move(whole), std::move(indices));
}

HeldOut hold_out(std::shared_ptr<const Dataset> whole, int64_t count, uint64_t seed) {
  std::vector<int64_t> order = random_order(whole->size(), Philox(seed, RandomStream::split));
  const auto cut = order.begin() + std::clamp<int64_t>(count, 0, whole->size());
  std::vector<int64_t> validation(order.begin(), cut), train(cut, order.end());
  // In the order of the data: the shuffling of an epoch is the sampler's business alone.
  std::ranges::sort(validation);
  std::ranges::sort(train);
  return {subset(whole, std::move(train)), subset(whole, std::move(validation))};
}

}  // namespace apotnet
