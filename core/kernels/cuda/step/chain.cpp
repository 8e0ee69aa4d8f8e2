#include "core/kernels/cuda/step/chain.h"

#include <algorithm>

namespace apotnet::cuda {
namespace {

bool is_same(const Tensor& a, const Tensor& b) { return a.defined() && b.defined() && a.raw() == b.raw(); }

bool is_same(const Operand& a, const Operand& b) {
  if (a.sums.has_value() != b.sums.has_value() || a.norm.has_value() != b.norm.has_value()) return false;
  if (a.norm && !(is_same(a.norm->mean, b.norm->mean) && is_same(a.norm->gamma, b.norm->gamma))) return false;
  return a.sums ? is_same(a.sums->narrow, b.sums->narrow) : is_same(a.values, b.values);
}

bool is_same(const LevelSet& a, const LevelSet& b) {
  return &a == &b ||
         (a.k() == b.k() && std::ranges::equal(a.codes(), b.codes()) && a.ties_to_lower() == b.ties_to_lower());
}

// The value that a link rounds, as something stored or as an operand of another one.
bool stands_for(const Operand& operand, const QuantizedConvolution& of) {
  if (is_same(operand.values, of.values)) return !operand.norm;
  const Value& value = of.x.value;
  return !value.b && is_same(operand, value.a) && operand.relu == (value.a.relu || value.relu);
}

}  // namespace

bool ConvolutionChain::is_kept(const Operand& operand) const {
  const bool is_projected = kept_ + 1 < links_.size() && links_[kept_ + 1].is_projection;
  if (!is_projected) return links_[kept_].keeps && stands_for(operand, links_[kept_].convolution);
  return operand.sums && is_same(operand.sums->narrow, links_[kept_ + 1].convolution.y.narrow) && operand.norm &&
         !operand.relu;
}

bool ConvolutionChain::follows(const QuantizedConvolution& convolution) const {
  const Value& value = convolution.x.value;
  return value.relu && value.a.norm && !value.a.relu && value.a.sums &&
         is_same(value.a.sums->narrow, links_[last_].convolution.y.narrow) && (!value.b || is_kept(*value.b));
}

bool ConvolutionChain::projects(const QuantizedConvolution& convolution) const {
  const ChainLink& kept = links_[kept_];
  const Value& value = convolution.x.value;
  return kept.keeps && kept.plan.outputs > kept.plan.channels && !value.b && !convolution.values.defined() &&
         stands_for(value.a, kept.convolution) && convolution.y.shape() == kept.convolution.y.shape() &&
         !(kept_ + 1 < links_.size() && links_[kept_ + 1].is_projection);
}

bool ConvolutionChain::add(const QuantizedConvolution& convolution) {
  const auto& [x, values, w, geometry, y, statistics] = convolution;
  const auto plan = plan_of_image(sizes_of(x.value.shape(), w.shape(), geometry));
  if (!plan || plan->images > Context::get().blocks_together() || links_.size() >= kMostLinks) return false;
  if (links_.empty()) {
    links_.push_back({.convolution = convolution, .plan = *plan, .norm = {}, .keeps = true});
    return true;
  }
  if (!is_same(*x.codes.levels, *links_[0].convolution.x.codes.levels)) return false;
  if (projects(convolution)) {
    links_.insert(links_.begin() + static_cast<ptrdiff_t>(kept_) + 1,
                  {.convolution = convolution, .plan = *plan, .norm = {}, .is_projection = true});
    if (last_ > kept_) ++last_;
    return true;
  }
  if (!follows(convolution)) return false;
  links_[last_].norm = x.value.a.norm;
  const bool adds = x.value.b.has_value();
  if (adds && kept_ + 1 < links_.size() && links_[kept_ + 1].is_projection) links_[kept_ + 1].norm = x.value.b->norm;
  last_ = links_.size();
  if (adds) kept_ = last_;
  links_.push_back({.convolution = convolution, .plan = *plan, .norm = {}, .adds = adds, .keeps = adds});
  return true;
}

void ConvolutionChain::launch() {
  if (links_.size() == 1)
    launch_quantize_and_convolve(links_[0].convolution);
  else
    launch_chain(links_);
}

}  // namespace apotnet::cuda
