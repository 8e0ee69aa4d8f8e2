#include "core/kernels/cuda/step/forward_chain.h"

#include <utility>

namespace apotnet::cuda {
namespace {

bool is_alike(const BatchNormTerms& a, const BatchNormTerms& b) {
  const bool same_beta = a.beta.defined() ? is_same(a.beta, b.beta) : !b.beta.defined();
  return is_same(a.mean, b.mean) && is_same(a.variance, b.variance) && is_same(a.gamma, b.gamma) && same_beta &&
         a.epsilon == b.epsilon;
}

// Whether both are the same numbers, but for a ReLU.
bool is_alike(const Operand& a, const Operand& b) {
  if (a.sums.has_value() != b.sums.has_value() || a.norm.has_value() != b.norm.has_value()) return false;
  if (a.norm && !is_alike(*a.norm, *b.norm)) return false;
  return a.sums ? is_same(a.sums->narrow, b.sums->narrow) : is_same(a.values, b.values);
}

// The value that a convolution rounds, as another one.
bool stands_for(const Operand& operand, bool relu, const QuantizedConvolution& of) {
  if (is_same(operand.values, of.values)) return !operand.norm;
  const Value& value = of.x.value;
  return !value.b && is_alike(operand, value.a) && (operand.relu || relu) == (value.a.relu || value.relu);
}

// Sums of a convolution behind a batch norm that takes their own statistics, which a chain knows before they are
// stored.
bool is_normalised(const Operand& operand, const QuantizedConvolution& of) {
  return operand.sums && is_same(operand.sums->narrow, of.y.narrow) && operand.norm && !operand.relu &&
         is_same(operand.norm->mean, of.statistics.mean) && is_same(operand.norm->variance, of.statistics.variance);
}

}  // namespace

bool ForwardChain::is_kept(const Operand& operand) const {
  const ForwardLink& kept = links_[kept_];
  return kept.is_projection ? is_normalised(operand, kept.convolution) : stands_for(operand, false, kept.convolution);
}

bool ForwardChain::follows(const Value& value) const {
  return value.relu && is_normalised(value.a, links_.back().convolution) && (!value.b || is_kept(*value.b));
}

// The value that follows is made of the last sums and what is kept.
void ForwardChain::go_on(const Value& value) {
  links_.back().norm = value.a.norm;
  if (!value.b) return;
  ForwardLink& kept = links_[kept_];
  if (kept.is_projection)
    kept.norm = value.b->norm;
  else
    ++kept.calls;
}

bool ForwardChain::projects(const QuantizedConvolution& convolution) const {
  const ForwardLink& kept = links_[kept_];
  const Value& value = convolution.x.value;
  return !kept.is_projection && kept.plan.outputs > kept.plan.channels && !value.b && !convolution.values.defined() &&
         stands_for(value.a, value.relu, kept.convolution) && convolution.y.shape() == kept.convolution.y.shape();
}

bool ForwardChain::add(const QuantizedConvolution& convolution, const std::shared_ptr<StoredValue>& stored) {
  const auto& [x, values, w, geometry, y, statistics] = convolution;
  const auto plan = plan_of_image(sizes_of(x.value.shape(), w.shape(), geometry));
  if (!plan || plan->images > images_of_forward_chain() || links_.size() >= kMostForwardLinks || end_) return false;
  ForwardLink link{.convolution = convolution, .plan = *plan, .norm = {}, .stored = stored, .distances = {}};
  if (links_.empty()) {
    link.is_kept = true;
    links_.push_back(std::move(link));
    return true;
  }
  if (x.codes.levels != links_[0].convolution.x.codes.levels) return false;
  if (projects(convolution)) {
    // It goes in front of the convolution beside it, and finds the value in its place.
    ForwardLink& beside = links_[kept_];
    link.is_projection = true;
    link.convolution.x.value = beside.convolution.x.value;  // not as it is stored on the way
    link.convolution.values = std::exchange(beside.convolution.values, {});
    link.stored = beside.stored;
    link.calls = 1;
    link.is_kept = std::exchange(beside.is_kept, true);
    link.adds = std::exchange(beside.adds, false);
    link.keeps = std::exchange(beside.keeps, false);
    links_.insert(links_.begin() + static_cast<ptrdiff_t>(kept_), std::move(link));
    return true;
  }
  if (!follows(x.value)) return false;
  go_on(x.value);
  link.adds = link.keeps = x.value.b.has_value();
  if (link.keeps) kept_ = links_.size();
  links_.push_back(std::move(link));
  return true;
}

bool ForwardChain::end_with(const PooledValue& end) {
  if (links_.size() < 2 || end_ || !follows(end.value) || !fits_mean(links_.back().plan)) return false;
  go_on(end.value);
  end_ = end;
  return true;
}

void ForwardChain::finish(const std::shared_ptr<ImageConvolution>& image) {
  if (links_.size() == 1) return;
  const Value& first = links_[0].convolution.x.value;
  if (image && !image->begins_chain && image->value.defined() && !first.b && first.relu &&
      is_same(first.a.values, image->y) && first.a.norm && is_same(first.a.norm->mean, image->mean) &&
      is_same(first.a.norm->variance, image->variance)) {
    image_ = image;
    image_->begins_chain = true;
    image_->calls -= 2;  // the convolution and its statistics
    for (size_t i = 0; i <= (links_[0].is_projection ? 1 : 0); ++i) image_->calls -= links_[i].calls;
  }
  for (ForwardLink& link : links_) {
    if (!link.stored) continue;
    link.stored->calls -= link.calls;
    link.distances = Tensor(link.stored->values.shape(), DType::s8, kCuda);
    link.stored->rounded.push_back({link.convolution.x.alpha, link.convolution.x.codes.codes, link.distances});
  }
}

void ForwardChain::launch() {
  if (links_.size() == 1)
    launch_quantize_and_convolve(links_[0].convolution);
  else
    launch_forward_chain(links_, image_ && !image_->is_read() ? image_.get() : nullptr, end_ ? &*end_ : nullptr);
}

}  // namespace apotnet::cuda
